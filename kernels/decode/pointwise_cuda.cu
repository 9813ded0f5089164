// What stands between the linears of a decoding step: embedding, residual + RMSNorm, SiLU·mul.
#include <type_traits>

#include "kernels/decode/element.cuh"

namespace aqlm_exp::decode {
namespace {

using kernels::Launch;
using kernels::Status;
using kernels::trigger_dependents;
using kernels::wait_for_previous;

constexpr int kThreads = 256;

// The order in every kernel of a step: read constants, wait for the predecessor, only then let the successor start. So
// when a kernel runs its prologue, all but its immediate predecessor have ended.

template <typename T>
__global__ void __launch_bounds__(kThreads) embed_kernel(EmbedCall call) {
  wait_for_previous();
  trigger_dependents();
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int64_t row = blockIdx.y;
  if (column >= call.width) return;
  const T* table = static_cast<const T*>(call.table);
  call.residual[row * call.width + column] = to_float(table[call.ids[row] * call.width + column]);
}

/// Four neighbours, widened; `p` is aligned to all four.
__device__ __forceinline__ void load4(const float* p, float (&out)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
}
template <typename T>
__device__ __forceinline__ void load4(const T* p, float (&out)[4]) {
  const uint2 v = *reinterpret_cast<const uint2*>(p);
  const T* four = reinterpret_cast<const T*>(&v);
#pragma unroll
  for (int k = 0; k < 4; ++k) out[k] = to_float(four[k]);
}
__device__ __forceinline__ void store4(float* p, const float (&in)[4]) {
  *reinterpret_cast<float4*>(p) = make_float4(in[0], in[1], in[2], in[3]);
}
template <typename T>
__device__ __forceinline__ void store4(T* p, const float (&in)[4]) {
  uint2 v;
  T* four = reinterpret_cast<T*>(&v);
#pragma unroll
  for (int k = 0; k < 4; ++k) four[k] = from_float<T>(in[k]);
  *reinterpret_cast<uint2*>(p) = v;
}

/// One block a row of at most Held * 4096 elements, a multiple of four; they stay in registers between the two passes.
/// Weights come from memory, all else from L2: they are asked for before the wait.
template <typename T, int Held>
__global__ void __launch_bounds__(1024) add_rms_norm_kernel(AddRmsNormCall call) {
  __shared__ float scratch[32];
  const int64_t row = blockIdx.x, width = call.width;
  const T* weight = static_cast<const T*>(call.weight);
  const T* delta = call.delta ? static_cast<const T*>(call.delta) + row * width : nullptr;
  float* residual = call.residual + row * width;
  T* y = static_cast<T*>(call.y) + row * width;
  float weights[Held][4] = {}, held[Held][4] = {};
  const auto column = [](int j) { return (int64_t{j} * blockDim.x + threadIdx.x) * 4; };
#pragma unroll
  for (int j = 0; j < Held; ++j)
    if (column(j) < width) load4(weight + column(j), weights[j]);
  wait_for_previous();
  trigger_dependents();
  float sum = 0;
#pragma unroll
  for (int j = 0; j < Held; ++j) {
    if (column(j) >= width) continue;
    load4(residual + column(j), held[j]);
    if (delta) {
      float more[4];
      load4(delta + column(j), more);
#pragma unroll
      for (int k = 0; k < 4; ++k) held[j][k] += more[k];
      store4(residual + column(j), held[j]);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) sum += held[j][k] * held[j][k];
  }
  const float scale = rsqrtf(block_sum(sum, scratch) / static_cast<float>(width) + call.eps);
#pragma unroll
  for (int j = 0; j < Held; ++j) {
    if (column(j) >= width) continue;
#pragma unroll
    for (int k = 0; k < 4; ++k) held[j][k] *= scale * weights[j][k];
    store4(y + column(j), held[j]);
  }
}

/// Rows of any width, read twice.
template <typename T>
__global__ void __launch_bounds__(1024) add_rms_norm_any_kernel(AddRmsNormCall call) {
  __shared__ float scratch[32];
  const int64_t row = blockIdx.x, width = call.width;
  const T* weight = static_cast<const T*>(call.weight);
  const T* delta = call.delta ? static_cast<const T*>(call.delta) + row * width : nullptr;
  float* residual = call.residual + row * width;
  T* y = static_cast<T*>(call.y) + row * width;
  wait_for_previous();
  trigger_dependents();
  float sum = 0;
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    float x = residual[i];
    if (delta) {
      x += to_float(delta[i]);
      residual[i] = x;
    }
    sum += x * x;
  }
  const float scale = rsqrtf(block_sum(sum, scratch) / static_cast<float>(width) + call.eps);
  for (int64_t i = threadIdx.x; i < width; i += blockDim.x) {
    y[i] = from_float<T>(residual[i] * (scale * to_float(weight[i])));  // written by this same thread above
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) silu_mul_kernel(SiluMulCall call) {
  wait_for_previous();
  trigger_dependents();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= call.count) return;
  const float gate = to_float(static_cast<const T*>(call.gate)[i]);
  const float up = to_float(static_cast<const T*>(call.up)[i]);
  static_cast<T*>(call.y)[i] = from_float<T>(gate / (1.0F + __expf(-gate)) * up);
}

unsigned blocks_for(int64_t count, int64_t block) { return static_cast<unsigned>((count + block - 1) / block); }

Launch launch_of(dim3 grid, unsigned threads, const Order& order) {
  return {.grid = grid,
          .block = dim3(threads),
          .programmatic = order.programmatic,
          .stream = static_cast<cudaStream_t>(order.stream)};
}

}  // namespace

Status decode_cuda_available() noexcept { return kernels::multiprocessors() > 0 ? Status::kOk : Status::kNoDevice; }

Status embed_cuda(const EmbedCall& call, const Order& order) noexcept {
  if (call.batch < 1 || call.width < 1 || call.batch > 65535) return Status::kUnsupportedShape;
  return with_element(call.element, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    const dim3 grid(blocks_for(call.width, kThreads), static_cast<unsigned>(call.batch));
    return kernels::launch<embed_kernel<T>>(launch_of(grid, kThreads, order), call);
  });
}

Status add_rms_norm_cuda(const AddRmsNormCall& call, const Order& order) noexcept {
  if (call.batch < 1 || call.width < 1) return Status::kUnsupportedShape;
  return with_element(call.element, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    const int64_t width = call.width;
    const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
    const bool fours = width % 4 == 0 && width <= 16384 && aligned(call.weight) && aligned(call.residual) &&
                       aligned(call.y) && (call.delta == nullptr || aligned(call.delta));
    const int64_t wanted = fours ? width / 4 : width;  // threads
    const unsigned threads = wanted >= 1024 ? 1024 : blocks_for(wanted, 32) * 32;
    const Launch how = launch_of(dim3(static_cast<unsigned>(call.batch)), threads, order);
    if (!fours) return kernels::launch<add_rms_norm_any_kernel<T>>(how, call);
    if (width <= 4096) return kernels::launch<add_rms_norm_kernel<T, 1>>(how, call);
    return width <= 8192 ? kernels::launch<add_rms_norm_kernel<T, 2>>(how, call)
                         : kernels::launch<add_rms_norm_kernel<T, 4>>(how, call);
  });
}

Status silu_mul_cuda(const SiluMulCall& call, const Order& order) noexcept {
  if (call.count < 1) return Status::kUnsupportedShape;
  return with_element(call.element, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    return kernels::launch<silu_mul_kernel<T>>(launch_of(dim3(blocks_for(call.count, kThreads)), kThreads, order),
                                               call);
  });
}

}  // namespace aqlm_exp::decode
