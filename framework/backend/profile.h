// Where the time of a model's linears goes, kernel by kernel.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/backend/device_clock.h"

namespace aqlm_exp::backend {

/// While one lives, the linears that run on its thread file their times in it. On a GPU it puts two events around each
/// linear into the stream; it cannot live while a graph is captured.
class Profile {
 public:
  explicit Profile(at::Device device);
  ~Profile();
  Profile(const Profile&) = delete;
  Profile& operator=(const Profile&) = delete;
  /// The one that lives on this thread, or null.
  static Profile* current();

  void begin() { clock_.mark(); }
  void end(const std::string& kernel);

  struct Share {
    std::string kernel;
    int64_t calls = 0;
    double seconds = 0;
    double fraction = 0;  ///< of the time from construction to this call
  };
  /// Waits for the device. Largest first; the last row, "other", is everything between the linears.
  std::vector<Share> shares();

 private:
  DeviceClock clock_;
  std::vector<std::string> kernels_;
  Profile* outer_;
};

}  // namespace aqlm_exp::backend
