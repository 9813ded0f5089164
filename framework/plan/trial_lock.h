// Who runs a trial holds its lock, on whatever host: the claim of an attempt (an atomic mkdir) says which attempt it
// is, the lock says that it still runs.
#pragma once

#include <optional>
#include <string_view>

#include "framework/plan/out_folder.h"

namespace aqlm_exp::plan {

/// flock on OUT/trials/<id16>/lock, freed by the kernel however its holder ends; workers do not inherit it.
class TrialLock {
 public:
  /// Nothing when another process holds it. The trial's folder must be there. @throws StorageError
  static std::optional<TrialLock> take(const OutFolder& out, std::string_view id);
  TrialLock(TrialLock&& other) noexcept;
  TrialLock& operator=(TrialLock&& other) noexcept;
  TrialLock(const TrialLock&) = delete;
  TrialLock& operator=(const TrialLock&) = delete;
  ~TrialLock();

 private:
  explicit TrialLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

/// Whether some process runs the trial now. Changes nothing.
bool trial_is_running(const OutFolder& out, std::string_view id);

}  // namespace aqlm_exp::plan
