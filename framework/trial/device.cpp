#include "framework/trial/device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "framework/base/error.h"

namespace aqlm_exp::trial {
namespace {

/// Empty when CUDA devices can be used, otherwise why not. Opening the library registers its kernels with the
/// dispatcher; it must happen before anything asks libtorch for CUDA.
std::string load_cuda() {
  static const std::string reason = []() -> std::string {
    if (::access("/dev/nvidiactl", F_OK) != 0) return "this machine has no NVIDIA driver (/dev/nvidiactl is absent)";
    if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
      const char* why = ::dlerror();
      return fmt::format("libtorch_cuda.so: {}", why != nullptr ? why : "cannot be opened");
    }
    if (at::detail::getCUDAHooks().deviceCount() == 0) return "the driver reports no GPU";
    return {};
  }();
  return reason;
}

/// libtorch starts CUDA with the first tensor; until then its allocator knows no device and refuses to count memory.
at::Device started(int64_t index) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  return at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index));
}

}  // namespace

at::Device open_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name == "auto") return load_cuda().empty() ? started(0) : at::Device(at::kCPU);
  int64_t index = 0;
  if (name.starts_with("cuda:") && name.size() > 5 && name.size() < 9 &&
      name.find_first_not_of("0123456789", 5) == std::string::npos) {
    index = std::stol(name.substr(5));
  } else if (name != "cuda") {
    throw ConfigError(fmt::format("device: got \"{}\", need cpu, cuda, cuda:N or auto", name));
  }
  if (const std::string reason = load_cuda(); !reason.empty()) {
    throw ConfigError(fmt::format("device: {}: {}; use device=cpu", name, reason));
  }
  if (const int64_t count = at::detail::getCUDAHooks().deviceCount(); index >= count) {
    throw ConfigError(fmt::format("device: {}: this machine has {} GPU(s), cuda:0 to cuda:{}", name, count, count - 1));
  }
  return started(index);
}

std::string hardware_name(at::Device device) {
  if (device.is_cuda()) {
    std::ifstream file("/proc/driver/nvidia/version");
    std::string line;
    std::getline(file, line);
    return fmt::format("cuda:{} ({})", static_cast<int>(device.index()), line.empty() ? "NVIDIA GPU" : line);
  }
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "CPU";
}

DeviceMemoryProbe device_memory_probe(at::Device device) {
  if (!device.is_cuda()) return {};
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  const auto index = device.index();
  return {.restart = [allocator, index] { allocator->resetPeakStats(index); },
          .peak_bytes =
              [allocator, index] {
                const auto stats = allocator->getDeviceStats(index);
                constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
                return stats.allocated_bytes[kAll].peak;
              }};
}

}  // namespace aqlm_exp::trial
