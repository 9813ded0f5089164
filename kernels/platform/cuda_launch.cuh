// Launching and the device instructions that several families share. Included by .cu files only.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>

#include "kernels/platform/status.h"

namespace aqlm_exp::kernels {

struct Launch {
  dim3 grid, block;
  int64_t shared_bytes = 0;
  int cluster = 1;
  bool programmatic = false;  // may start before its predecessor in the stream has ended; the kernel waits by itself
  cudaStream_t stream = nullptr;
};

inline int current_device() noexcept {
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return -1;
  return device < 64 ? device : -1;
}

/// Multiprocessors of the current device, 0 if there is none; asked once per device.
inline int multiprocessors() noexcept {
  static std::atomic<int> known[64];
  const int device = current_device();
  if (device < 0) return 0;
  int count = known[device].load(std::memory_order_relaxed);
  if (count == 0) {
    if (cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) return 0;
    known[device].store(count, std::memory_order_relaxed);
  }
  return count;
}

/// Lets a kernel take `bytes` of dynamic shared memory; done once per kernel and device. Allocates nothing.
template <auto Kernel>
bool allow_shared(int64_t bytes) noexcept {
  static std::atomic<int64_t> granted[64];
  const int device = current_device();
  if (device < 0) return false;
  if (granted[device].load(std::memory_order_relaxed) >= bytes) return true;
  if (cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)) !=
      cudaSuccess) {
    cudaGetLastError();  // clears it: the caller reports an unsupported shape
    return false;
  }
  granted[device].store(bytes, std::memory_order_relaxed);
  return true;
}

template <auto Kernel, class Params>
Status launch(const Launch& how, const Params& params) noexcept {
  if (!allow_shared<Kernel>(how.shared_bytes)) return Status::kUnsupportedShape;
  cudaLaunchConfig_t config{};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = static_cast<size_t>(how.shared_bytes);
  config.stream = how.stream;
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (how.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(how.cluster);
    attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (how.programmatic) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count].val.programmaticStreamSerializationAllowed = 1;
    ++count;
  }
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, Kernel, params) == cudaSuccess ? Status::kOk : Status::kLaunchFailed;
}

#ifdef __CUDACC__

/// Lets the next kernel of the stream start its prologue, and waits for the previous one's results. Weights are
/// constant and may be read before the wait; x, residual and y may not be touched before it.
__device__ __forceinline__ void trigger_dependents() { asm volatile("griddepcontrol.launch_dependents;"); }
__device__ __forceinline__ void wait_for_previous() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

/// Streamed once: not kept in L1.
__device__ __forceinline__ uint4 load_stream16(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ __forceinline__ uint2 load_stream8(const void* p) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
  return v;
}
__device__ __forceinline__ uint32_t load_stream4(const void* p) {
  uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}
/// Gathered from a table that L1 may keep.
__device__ __forceinline__ uint4 load_table16(const void* p) {
  uint4 v;
  asm("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
/// Written by an earlier kernel that may still have been running when this one started.
__device__ __forceinline__ uint4 load_fresh16(const void* p) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}
__device__ __forceinline__ uint32_t load_fresh4(const void* p) {
  uint32_t v;
  asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
__device__ __forceinline__ uint4 load_shared16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
  return v;
}
__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
/// 16 bytes from global to shared memory past the registers, zeros where not `wanted`; wait_copies() ends a thread's.
__device__ __forceinline__ void copy_shared16(void* to, const void* from, bool wanted) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(wanted ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// acc[16x8] += a[16x16] b[16x8], fp16 in, fp32 out.
__device__ __forceinline__ void mma_16816(float (&acc)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                          uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// y = sum * scale + bias + residual, rounded once to fp16. Null pointers stand for 1 and 0.
struct Epilogue {
  const __half* scales;
  const __half* bias;
  const __half* residual;
  __half* y;
};
__device__ __forceinline__ void finish(const Epilogue& e, float sum, int64_t row, int64_t token, int64_t rows) {
  if (e.scales) sum *= __half2float(e.scales[row]);
  if (e.bias) sum += __half2float(e.bias[row]);
  if (e.residual) sum += __half2float(e.residual[token * rows + row]);
  e.y[token * rows + row] = __float2half_rn(sum);
}

#endif  // __CUDACC__

}  // namespace aqlm_exp::kernels
