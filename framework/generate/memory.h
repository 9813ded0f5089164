// Memory of this process: resident on the host, and on a GPU what libtorch holds for it.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace aqlm_exp::generate {

struct MemoryReading {
  int64_t host_bytes = 0;         ///< resident set
  int64_t host_peak_bytes = 0;    ///< largest resident set since the last reset, of the whole process where that fails
  int64_t device_bytes = 0;       ///< in tensors; 0 on the CPU
  int64_t device_peak_bytes = 0;  ///< largest of it since the last reset
  int64_t device_reserved_bytes = 0;  ///< taken from the driver, caches and graphs included
};

MemoryReading read_memory(c10::Device device);
/// Starts new peaks. @return false if the system does not let the host's peak be reset
bool reset_peaks(c10::Device device);

}  // namespace aqlm_exp::generate
