// `run --detach` on this machine: the driver goes on in a session of its own, without the terminal.
#pragma once

#include <filesystem>
#include <string>

namespace aqlm_exp::app {

/// Forks when wanted. The parent waits until the child has its lock and plan, or has failed with a message; the child
/// then writes to `log_file`. Must be made while the process has one thread.
class Detachment {
 public:
  Detachment(bool wanted, std::filesystem::path log_file);
  Detachment(const Detachment&) = delete;
  Detachment& operator=(const Detachment&) = delete;
  ~Detachment();

  bool is_parent() const { return child_ > 0; }
  /// Parent: the exit code, 0 once the child has started.
  int wait_until_started();
  /// Child: everything is in order; leaves the terminal. Does nothing when not detached. @param message for the parent
  void started(const std::string& message);

 private:
  bool wanted_;
  std::filesystem::path log_file_;
  int child_ = -1;
  int pipe_ = -1;
};

}  // namespace aqlm_exp::app
