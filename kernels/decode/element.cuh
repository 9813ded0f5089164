// Element types of a decoding step and block-wide sums. Included by .cu files only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/decode/decode_cuda.h"
#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::decode {

#ifdef __CUDACC__

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

/// Two elements of a 32-bit word, in order.
template <typename T>
__device__ __forceinline__ float2 unpack2(uint32_t word);
template <>
__device__ __forceinline__ float2 unpack2<__half>(uint32_t word) {
  return __half22float2(*reinterpret_cast<const __half2*>(&word));
}
template <>
__device__ __forceinline__ float2 unpack2<__nv_bfloat16>(uint32_t word) {
  return {__uint_as_float(word << 16), __uint_as_float(word & 0xFFFF0000U)};
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, offset);
  return x;
}

/// Sum over a block of at most 1024 threads, a multiple of 32; every thread gets it. `scratch` holds 32 floats and may
/// be used again after the next barrier.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
  x = warp_sum(x);
  const int warps = static_cast<int>(blockDim.x) / 32;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < warps; ++i) sum += scratch[i];
  return sum;
}

#endif

/// Calls f with a null pointer of the element's type.
template <class F>
kernels::Status with_element(Element element, const F& f) noexcept {
  switch (element) {
    case Element::kF32:
      return f(static_cast<float*>(nullptr));
    case Element::kF16:
      return f(static_cast<__half*>(nullptr));
    case Element::kBF16:
      return f(static_cast<__nv_bfloat16*>(nullptr));
  }
  return kernels::Status::kUnsupportedShape;
}

}  // namespace aqlm_exp::decode
