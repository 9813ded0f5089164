#include "framework/base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "framework/base/error.h"

namespace aqlm_exp {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

[[noreturn]] void fail(const std::filesystem::path& path, std::string_view area, std::string_view kind,
                       const std::string& message) {
  throw DataError(fmt::format("{}: {}", path.string(), message), fmt::format("{}-{}", area, kind));
}

[[noreturn]] void fail_errno(const std::filesystem::path& path, std::string_view area, int error) {
  if (error == ENOENT || error == ENOTDIR) fail(path, area, "MISSING", "no such file");
  if (error == ELOOP) fail(path, area, "NOTFILE", "symbolic links lead in a circle, need a regular file");
  if (error == EACCES || error == EPERM) fail(path, area, "DENIED", "may not be read; check its permissions");
  fail(path, area, "READ", std::strerror(error));
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "not a regular file";
}

struct OpenFile {
  Descriptor descriptor;
  struct stat status;
};

OpenFile open_regular(const std::filesystem::path& path, std::string_view area) {
  if (path.native().find('\0') != std::string::npos) fail(path, area, "NOTFILE", "file name with a NUL character");
  struct stat status {};
  // Looked at before it is opened, since opening a device may already act on it; O_NONBLOCK covers the gap between the
  // two.
  if (::stat(path.c_str(), &status) != 0) fail_errno(path, area, errno);
  if (!S_ISREG(status.st_mode)) {
    fail(path, area, "NOTFILE", fmt::format("got {}, need a regular file", kind_of(status.st_mode)));
  }
  Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (descriptor.get() < 0) fail_errno(path, area, errno);
  if (::fstat(descriptor.get(), &status) != 0) fail_errno(path, area, errno);
  if (!S_ISREG(status.st_mode)) {
    fail(path, area, "NOTFILE", fmt::format("got {}, need a regular file", kind_of(status.st_mode)));
  }
  return {std::move(descriptor), status};
}

// Mapped ranges the SIGBUS handler knows. Slots are claimed under a lock and read without one inside the handler.
struct MappedRange {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> lost{false};
};
constexpr size_t kMaxMappedFiles = 4096;  // shards of the largest published checkpoints number in the hundreds
std::array<MappedRange, kMaxMappedFiles> g_ranges;
std::mutex g_ranges_mutex;
struct sigaction g_previous_action;
uintptr_t g_page_size = 4096;

void on_bus_error(int signal_number, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (MappedRange& range : g_ranges) {
    const uintptr_t begin = range.begin.load();
    if (begin == 0 || address < begin || address >= range.end.load()) continue;
    range.lost = true;
    void* page = reinterpret_cast<void*>(address & ~(g_page_size - 1));
    if (::mmap(page, g_page_size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED) return;
  }
  // Not ours: as it would have been without this handler.
  if ((g_previous_action.sa_flags & SA_SIGINFO) != 0 && g_previous_action.sa_sigaction != nullptr) {
    g_previous_action.sa_sigaction(signal_number, info, context);
    return;
  }
  ::sigaction(SIGBUS, &g_previous_action, nullptr);
  ::raise(SIGBUS);
}

MappedRange* claim_range(const void* begin, size_t size) {
  const std::lock_guard lock(g_ranges_mutex);
  static bool installed = false;
  if (!installed) {
    g_page_size = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    ::sigaction(SIGBUS, &action, &g_previous_action);
    installed = true;
  }
  for (MappedRange& range : g_ranges) {
    if (range.begin.load() != 0) continue;
    range.lost = false;
    range.end = reinterpret_cast<uintptr_t>(begin) + size;
    range.begin = reinterpret_cast<uintptr_t>(begin);
    return &range;
  }
  return nullptr;
}

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      throw StorageError(fmt::format("{}: could not be written: {}", path.string(), std::strerror(errno)));
    }
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

}  // namespace

std::string read_regular_file(const std::filesystem::path& path, uint64_t max_bytes, std::string_view area) {
  const OpenFile file = open_regular(path, area);
  const auto size = static_cast<uint64_t>(file.status.st_size);
  if (size > max_bytes) fail(path, area, "LARGE", fmt::format("got {} bytes, need at most {}", size, max_bytes));
  std::string content(size, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(file.descriptor.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(path, area, errno);
    if (got == 0) fail(path, area, "CHANGED", "became shorter while it was read");
    done += static_cast<size_t>(got);
  }
  return content;
}

struct MappedFile::State {
  std::filesystem::path path;
  std::string area;
  struct stat status {};
  Descriptor descriptor{-1};
  void* data = nullptr;
  size_t size = 0;
  MappedRange* range = nullptr;

  State(const std::filesystem::path& file_path, std::string_view file_area, OpenFile file)
      : path(file_path), area(file_area), status(file.status), descriptor(std::move(file.descriptor)) {
    size = static_cast<size_t>(status.st_size);
    if (size == 0) return;
    data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
    if (data == MAP_FAILED) {
      data = nullptr;
      fail(path, area, "READ", fmt::format("cannot be mapped: {}", std::strerror(errno)));
    }
    range = claim_range(data, size);
    if (range == nullptr) {
      ::munmap(data, size);
      data = nullptr;
      fail(path, area, "LIMIT", fmt::format("more than {} files are mapped at once", kMaxMappedFiles));
    }
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (range != nullptr) {
      const std::lock_guard lock(g_ranges_mutex);
      range->begin = 0;
    }
    if (data != nullptr) ::munmap(data, size);
  }
};

MappedFile::MappedFile(const std::filesystem::path& path, std::string_view area)
    : state_(std::make_shared<const State>(path, area, open_regular(path, area))) {}

std::span<const std::byte> MappedFile::bytes() const {
  return {static_cast<const std::byte*>(state_->data), state_->size};
}

const std::filesystem::path& MappedFile::path() const { return state_->path; }

void MappedFile::check_unchanged() const {
  struct stat now {};
  if (::fstat(state_->descriptor.get(), &now) != 0) fail_errno(state_->path, state_->area, errno);
  const bool lost = state_->range != nullptr && state_->range->lost.load();
  if (lost || now.st_size != state_->status.st_size || now.st_mtim.tv_sec != state_->status.st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != state_->status.st_mtim.tv_nsec) {
    fail(state_->path, state_->area, "CHANGED",
         fmt::format(
             "changed while it was in use ({} bytes at opening, {} now); start again on a file that nothing writes to",
             state_->size, now.st_size));
  }
}

void MappedFile::release(uint64_t offset, uint64_t size_bytes) const {
  if (offset >= state_->size || size_bytes == 0) return;
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page;  // whole pages inside the range only
  const uint64_t end = std::min<uint64_t>(offset + size_bytes, state_->size) / page * page;
  if (begin < end) ::madvise(static_cast<char*>(state_->data) + begin, end - begin, MADV_DONTNEED);
}

void write_file_atomically(const std::filesystem::path& path, const std::function<void(const ByteSink&)>& write) {
  static std::atomic<uint64_t> counter{0};
  const std::filesystem::path temporary = fmt::format("{}.tmp-{}-{}", path.string(), ::getpid(), counter++);
  Descriptor descriptor(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (descriptor.get() < 0) {
    throw StorageError(fmt::format("{}: could not be created: {}", temporary.string(), std::strerror(errno)));
  }
  try {
    write([&](std::span<const std::byte> bytes) { write_all(descriptor.get(), bytes, temporary); });
    if (::fsync(descriptor.get()) != 0 || ::close(descriptor.release()) != 0 ||
        ::rename(temporary.c_str(), path.c_str()) != 0) {
      throw StorageError(fmt::format("{}: could not be stored: {}", path.string(), std::strerror(errno)));
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const Descriptor folder_descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder_descriptor.get() < 0 ||
      (::fsync(folder_descriptor.get()) != 0 && errno != EINVAL)) {  // EINVAL: some network mounts
    throw StorageError(fmt::format("{}: folder could not be synced: {}", folder.string(), std::strerror(errno)));
  }
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  write_file_atomically(path,
                        [&](const ByteSink& sink) { sink(std::as_bytes(std::span(content.data(), content.size()))); });
}

}  // namespace aqlm_exp
