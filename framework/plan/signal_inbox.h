// Signals of a driver that waits for trials, as data.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <vector>

namespace aqlm_exp::plan {

/// Signals arrive through a descriptor while this lives; afterwards the earlier mask and handling are back.
class SignalInbox {
 public:
  SignalInbox() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&wanted, number);
    ::sigprocmask(SIG_BLOCK, &wanted, &earlier_);
    fd_ = ::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    pipe_handler_ = ::signal(SIGPIPE, SIG_IGN);  // a closed terminal or pager must not end the sweep
  }
  SignalInbox(const SignalInbox&) = delete;
  SignalInbox& operator=(const SignalInbox&) = delete;
  ~SignalInbox() {
    take();
    ::close(fd_);
    ::signal(SIGPIPE, pipe_handler_);
    ::sigprocmask(SIG_SETMASK, &earlier_, nullptr);
  }
  void wait(int timeout_ms) {
    pollfd poll_fd{.fd = fd_, .events = POLLIN, .revents = 0};
    ::poll(&poll_fd, 1, timeout_ms);
  }
  /// Interrupting signals that arrived, in order.
  std::vector<int> take() {
    std::vector<int> signals;
    signalfd_siginfo info;
    while (::read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo != SIGCHLD) signals.push_back(static_cast<int>(info.ssi_signo));
    }
    return signals;
  }

 private:
  sigset_t earlier_;
  int fd_ = -1;
  void (*pipe_handler_)(int) = SIG_DFL;
};

}  // namespace aqlm_exp::plan
