#include "framework/trial/sweep_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::trial {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDefaultLimitBytes = uint64_t{8} << 30;
constexpr const char* kStoreLock = "store";

/// A byte of the lock file for each name: 62 bits of its hash.
int64_t byte_of(const std::string& name) {
  return static_cast<int64_t>(std::stoull(sha256_hex(name).substr(0, 15), nullptr, 16) << 2);
}

/// Open-file-description locks: per descriptor, also between threads, and freed by the kernel with its last copy.
bool set_lock(int fd, int64_t byte, short type, int command) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  int result;
  do {
    result = ::fcntl(fd, command, &lock);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

bool is_temporary(const fs::path& path) { return path.filename().string().find(".tmp-") != std::string::npos; }

}  // namespace

uint64_t cache_limit_bytes() {
  const char* text = std::getenv("AQLM_EXP_CACHE_MIB");
  if (text == nullptr || *text == '\0') return kDefaultLimitBytes;
  char* end = nullptr;
  errno = 0;
  const unsigned long long mib = std::strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || *text == '-' || mib > (1ull << 40)) {
    throw ConfigError(fmt::format("AQLM_EXP_CACHE_MIB: got \"{}\", need a number of MiB, 0 to keep nothing", text));
  }
  return mib << 20;
}

SweepCache::SweepCache(fs::path dir, uint64_t limit_bytes) : dir_(std::move(dir)), limit_bytes_(limit_bytes) {
  if (dir_.empty() || limit_bytes_ == 0) return;
  std::error_code error;
  fs::create_directories(dir_, error);
  fd_ = ::open((dir_ / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    log_warning("{}: {}; nothing is shared with other trials", dir_.string(), std::strerror(errno));
    return;
  }
  if (!set_lock(fd_, 1, F_RDLCK, F_OFD_SETLK)) {
    log_warning("{}: this file system has no locks ({}); nothing is shared with other trials", dir_.string(),
                std::strerror(errno));
    ::close(fd_);
    fd_ = -1;
  }
}

SweepCache::~SweepCache() {
  if (fd_ >= 0) ::close(fd_);
}

SweepCache::Lock::Lock(const SweepCache& cache, const std::string& name) : fd_(cache.fd_), byte_(byte_of(name)) {
  if (fd_ < 0 || set_lock(fd_, byte_, F_WRLCK, F_OFD_SETLK)) return;
  log_info("another trial is making what this one needs ({}); waiting", name);
  set_lock(fd_, byte_, F_WRLCK, F_OFD_SETLKW);
}

SweepCache::Lock::~Lock() {
  if (fd_ >= 0) set_lock(fd_, byte_, F_UNLCK, F_OFD_SETLK);
}

void SweepCache::touch(const std::string& name) const {
  if (enabled()) ::utimensat(AT_FDCWD, path_of(name).c_str(), nullptr, 0);
}

bool SweepCache::make_room(uint64_t size_bytes) const {
  struct Item {
    fs::path path;
    uint64_t bytes;
    struct timespec used;
    bool kept;
  };
  std::vector<Item> items;
  uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator it(dir_, error), end; !error && it != end; it.increment(error)) {
    struct stat info {};
    if (::stat(it->path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (is_temporary(it->path())) {  // we hold the lock under which all are written: its writer was killed
      ::unlink(it->path().c_str());
      continue;
    }
    if (it->path().extension() != ".bin") continue;
    const std::string name = it->path().filename().string();
    const bool kept =
        std::any_of(kept_.begin(), kept_.end(), [&](const std::string& prefix) { return name.rfind(prefix, 0) == 0; });
    items.push_back({it->path(), static_cast<uint64_t>(info.st_size), info.st_mtim, kept});
    total += static_cast<uint64_t>(info.st_size);
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return a.used.tv_sec != b.used.tv_sec ? a.used.tv_sec < b.used.tv_sec : a.used.tv_nsec < b.used.tv_nsec;
  });
  for (const Item& item : items) {
    if (total + size_bytes <= limit_bytes_) break;
    if (item.kept || size_bytes > limit_bytes_) continue;
    ::unlink(item.path.c_str());  // whoever reads it keeps it until its descriptor closes
    total -= item.bytes;
  }
  return total + size_bytes <= limit_bytes_;
}

bool SweepCache::store(const std::string& name, uint64_t size_bytes,
                       const std::function<void(const fs::path& path)>& write) {
  if (!enabled()) return false;
  const Lock lock(*this, kStoreLock);
  if (!make_room(size_bytes)) {
    log_debug("{}: {} bytes do not fit the cache's {} (exp.cache.limit_mib)", name, size_bytes, limit_bytes_);
    return false;
  }
  try {
    write(path_of(name));
    return true;
  } catch (const StorageError& error) {
    log_warning("{}; nothing is shared through it", error.what());
    return false;
  }
}

}  // namespace aqlm_exp::trial
