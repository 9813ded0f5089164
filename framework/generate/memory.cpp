#include "framework/generate/memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <fstream>
#include <string>

namespace aqlm_exp::generate {
namespace {

/// A line of /proc/self/status in bytes ("VmHWM:   1234 kB"); 0 if it is not there.
int64_t status_bytes(const std::string& name) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(name + ":")) return std::stoll(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace

MemoryReading read_memory(c10::Device device) {
  MemoryReading reading;
  reading.host_bytes = status_bytes("VmRSS");
  reading.host_peak_bytes = status_bytes("VmHWM");
  if (device.is_cuda()) {
    const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(device.index());
    reading.device_bytes = stats.allocated_bytes[0].current;  // [0]: small and large blocks together
    reading.device_peak_bytes = stats.allocated_bytes[0].peak;
    reading.device_reserved_bytes = stats.reserved_bytes[0].current;
  }
  return reading;
}

bool reset_peaks(c10::Device device) {
  if (device.is_cuda()) c10::getDeviceAllocator(device.type())->resetPeakStats(device.index());
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace aqlm_exp::generate
