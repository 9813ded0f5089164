#include "framework/plan/fingerprint.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"
#include "framework/results/storage.h"

namespace aqlm_exp::plan {
namespace {

namespace fs = std::filesystem;
constexpr int64_t kCacheAboveBytes = 1 << 20;

fs::path cache_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return fs::path(cache) / "aqlm-exp" / "fingerprints";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return fs::path(home) / ".cache" / "aqlm-exp" / "fingerprints";
  }
  return {};
}

bool is_hash(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool counts(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.front() != '.' && file.extension() != ".md" && name.rfind("LICENSE", 0) != 0;
}

}  // namespace

std::string Fingerprinter::of_file(const fs::path& file) {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0 || info.st_size < kCacheAboveBytes) return sha256_file(file);
  const fs::path folder = cache_folder();
  if (folder.empty()) return sha256_file(file);
  const std::string key =
      sha256_hex(fmt::format("{} {} {} {}.{} {}.{}", info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec,
                             info.st_mtim.tv_nsec, info.st_ctim.tv_sec, info.st_ctim.tv_nsec));
  const fs::path entry = folder / key.substr(0, 32);
  std::error_code ignored;
  if (trust_cache_ && fs::exists(entry, ignored)) {
    try {
      if (std::string hash = results::read_file(entry, 4096); is_hash(hash)) return hash;
    } catch (const Error&) {
      // hashed again below
    }
  }
  const std::string hash = sha256_file(file);
  try {
    results::make_folders(folder);
    results::put_file(entry, hash, results::IfPresent::kReplace);
  } catch (const StorageError& error) {
    log_debug("the fingerprint of {} is not remembered: {}", file.string(), error.what());
  }
  return hash;
}

std::string Fingerprinter::of(const fs::path& path) {
  if (const auto found = known_.find(path); found != known_.end()) return found->second;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  std::string print;
  if (fs::is_directory(status)) {
    std::vector<std::string> lines;
    for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
      if (!it->is_regular_file(error) || !counts(it->path())) continue;
      lines.push_back(
          fmt::format("{} {} {}\n", it->path().filename().string(), it->file_size(error), of_file(it->path())));
    }
    if (error) throw DataError(fmt::format("{}: {}; need a folder that can be read", path.string(), error.message()));
    std::sort(lines.begin(), lines.end());
    Sha256 hash;
    for (const std::string& line : lines) hash.update(line);
    print = hash.hex();
  } else if (fs::is_regular_file(status)) {
    print = of_file(path);
  } else {
    throw DataError(fmt::format("{}: {}; need a file or a folder", path.string(),
                                fs::exists(status) ? "not a regular file" : "there is no such file"),
                    "T-MISSING");
  }
  known_[path] = print;
  return print;
}

}  // namespace aqlm_exp::plan
