// The device's current stream and its clock, without a CUDA header: both come through libtorch's device interface,
// whose CUDA half is loaded at run time.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

namespace aqlm_exp::backend {

/// The cudaStream_t that torch's next operation on this CUDA device goes to.
void* current_stream(at::Device device);

/// Moments on the device's time line: the wall clock on a CPU, events in the current stream on a GPU.
class DeviceClock {
 public:
  explicit DeviceClock(at::Device device);
  ~DeviceClock();
  DeviceClock(DeviceClock&&) noexcept;
  DeviceClock& operator=(DeviceClock&&) noexcept;

  void mark();
  /// Waits for the device. @return seconds between neighbouring marks, one less than marks
  std::vector<double> intervals_s();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Returns when everything queued in the current stream is done.
void wait_for(at::Device device);

}  // namespace aqlm_exp::backend
