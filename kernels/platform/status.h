// What a kernel call answers. Kernels never throw: they are called between two GPU launches, and from plain C.
#pragma once

#include <cstdint>

namespace aqlm_exp::kernels {

enum class Status : int32_t {
  kOk,
  kUnsupportedShape,  // no kernel of this family for the shape, batch or format; asked before any work
  kNoDevice,          // built without CUDA, or no usable GPU
  kLaunchFailed,      // the driver refused the launch; the error stays readable through cudaGetLastError
};

constexpr const char* status_name(Status status) noexcept {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kUnsupportedShape:
      return "unsupported shape";
    case Status::kNoDevice:
      return "no device";
    case Status::kLaunchFailed:
      return "launch failed";
  }
  return "unknown";
}

}  // namespace aqlm_exp::kernels
