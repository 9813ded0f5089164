// Devices by name. The CUDA half of libtorch is opened here, and only when a GPU is asked for.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>

namespace aqlm_exp::trial {

/// "cpu", "cuda", "cuda:N" or "auto" (cuda:0 where a GPU answers, otherwise the CPU).
/// @throws ConfigError for another name, or when no such GPU answers: says why and what to use
at::Device open_device(const std::string& name);

/// "NVIDIA H200" or the CPU's model name: results of different hardware are never compared for speed.
std::string hardware_name(at::Device device);

/// Peak of the memory that tensors took on a GPU. Empty functions for the CPU.
struct DeviceMemoryProbe {
  std::function<void()> restart;
  std::function<int64_t()> peak_bytes;  ///< since restart
};
DeviceMemoryProbe device_memory_probe(at::Device device);

}  // namespace aqlm_exp::trial
