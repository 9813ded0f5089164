#include "framework/plan/device_pool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "framework/base/error.h"
#include "framework/results/storage.h"

namespace aqlm_exp::plan {
namespace {

constexpr int kMostFailures = 2;  // in a row, of one device

std::filesystem::path lock_folder() {
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR"); runtime != nullptr && *runtime != '\0') {
    return std::filesystem::path(runtime) / "aqlm-exp";
  }
  return std::filesystem::temp_directory_path() / fmt::format("aqlm-exp-{}", ::getuid());
}

}  // namespace

DevicePool::DevicePool(std::vector<std::string> names) {
  for (std::string& name : names) slots_.push_back({.name = std::move(name)});
}

DevicePool::~DevicePool() {
  for (const Slot& slot : slots_) {
    if (slot.fd >= 0) ::close(slot.fd);
  }
}

int DevicePool::acquire() {
  if (slots_.empty()) return -1;
  results::make_folders(lock_folder());
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].fd >= 0 || slots_[i].num_failures >= kMostFailures) continue;
    std::string file_name = "device-";
    for (char c : slots_[i].name) file_name += (c == '/' || c == '\0') ? '_' : c;
    const std::filesystem::path path = lock_folder() / (file_name + ".lock");
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) throw StorageError(results::describe_io_failure("open device lock", path, errno), "P-LOCK");
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      slots_[i].fd = fd;
      return static_cast<int>(i);
    }
    ::close(fd);
  }
  return -1;
}

bool DevicePool::report(int slot, bool device_failed) {
  int& failures = slots_.at(static_cast<size_t>(slot)).num_failures;
  failures = device_failed ? failures + 1 : 0;
  return failures == kMostFailures;
}

bool DevicePool::exhausted() const {
  return limits() &&
         std::all_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.num_failures >= kMostFailures; });
}

void DevicePool::release(int slot) {
  Slot& used = slots_.at(static_cast<size_t>(slot));
  ::close(used.fd);
  used.fd = -1;
}

}  // namespace aqlm_exp::plan
