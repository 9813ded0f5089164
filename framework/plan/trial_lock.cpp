#include "framework/plan/trial_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace aqlm_exp::plan {

std::optional<TrialLock> TrialLock::take(const OutFolder& out, std::string_view id) {
  const std::filesystem::path path = out.trial_dir(id) / "lock";
  int fd, result;
  do {
    fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw StorageError(results::describe_io_failure("open", path, errno), "P-LOCK");
  do {
    result = ::flock(fd, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return TrialLock(fd);
  const int error = errno;
  ::close(fd);
  if (error == EWOULDBLOCK) return std::nullopt;
  throw StorageError(results::describe_io_failure("flock", path, error), "P-LOCK");
}

TrialLock::TrialLock(TrialLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

TrialLock& TrialLock::operator=(TrialLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

TrialLock::~TrialLock() {
  if (fd_ >= 0) ::close(fd_);
}

bool trial_is_running(const OutFolder& out, std::string_view id) {
  const int fd = ::open((out.trial_dir(id) / "lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool held = ::flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return held;
}

}  // namespace aqlm_exp::plan
