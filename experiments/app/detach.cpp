#include "experiments/app/detach.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/results/storage.h"

namespace aqlm_exp::app {

Detachment::Detachment(bool wanted, std::filesystem::path log_file) : wanted_(wanted), log_file_(std::move(log_file)) {
  if (!wanted_) return;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw Error(ExitCode::kLauncher, "L-PIPE", fmt::format("pipe: {}", std::strerror(errno)));
  }
  std::fflush(stdout);
  std::fflush(stderr);
  const pid_t pid = ::fork();
  if (pid < 0) throw Error(ExitCode::kLauncher, "L-FORK", fmt::format("fork: {}", std::strerror(errno)));
  if (pid == 0) {
    ::setsid();  // no terminal that could close on us
    ::close(ends[0]);
    pipe_ = ends[1];
    return;
  }
  child_ = pid;
  ::close(ends[1]);
  pipe_ = ends[0];
}

Detachment::~Detachment() {
  if (pipe_ >= 0) ::close(pipe_);
}

int Detachment::wait_until_started() {
  std::string message;
  char bytes[512];
  for (ssize_t got; (got = ::read(pipe_, bytes, sizeof bytes)) != 0;) {
    if (got < 0 && errno != EINTR) break;
    if (got > 0) message.append(bytes, static_cast<size_t>(got));
  }
  if (!message.empty()) {
    log_info("{}", message);
    return 0;
  }
  int status = 0;  // it failed, and has said why on our stderr
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Detachment::started(const std::string& message) {
  if (!wanted_ || pipe_ < 0) return;
  const int log = ::open(log_file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (log < 0) throw StorageError(results::describe_io_failure("open", log_file_, errno), "R-IO");
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  [[maybe_unused]] const ssize_t written = ::write(pipe_, message.data(), message.size());
  ::dup2(in, 0);
  ::dup2(log, 1);
  ::dup2(log, 2);
  ::close(in);
  ::close(log);
  ::close(pipe_);
  pipe_ = -1;
}

}  // namespace aqlm_exp::app
