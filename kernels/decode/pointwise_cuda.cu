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

/// One block a row; a row's elements stay in registers between the two passes.
template <typename T>
__global__ void __launch_bounds__(1024) add_rms_norm_kernel(AddRmsNormCall call) {
  __shared__ float scratch[32];
  constexpr int kHeld = 16;  // elements a thread keeps: rows of up to 16384, longer ones are read twice
  const int64_t row = blockIdx.x, width = call.width;
  const T* weight = static_cast<const T*>(call.weight);
  const T* delta = call.delta ? static_cast<const T*>(call.delta) + row * width : nullptr;
  float* residual = call.residual + row * width;
  T* y = static_cast<T*>(call.y) + row * width;
  wait_for_previous();
  trigger_dependents();
  float held[kHeld];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t i = threadIdx.x + int64_t{j} * blockDim.x;
    held[j] = 0;
    if (i < width) {
      held[j] = residual[i];
      if (delta) {
        held[j] += to_float(delta[i]);
        residual[i] = held[j];
      }
      sum += held[j] * held[j];
    }
  }
  for (int64_t i = threadIdx.x + int64_t{kHeld} * blockDim.x; i < width; i += blockDim.x) {
    float x = residual[i];
    if (delta) {
      x += to_float(delta[i]);
      residual[i] = x;
    }
    sum += x * x;
  }
  const float scale = rsqrtf(block_sum(sum, scratch) / static_cast<float>(width) + call.eps);
#pragma unroll
  for (int j = 0; j < kHeld; ++j) {
    const int64_t i = threadIdx.x + int64_t{j} * blockDim.x;
    if (i < width) y[i] = from_float<T>(held[j] * scale * to_float(weight[i]));
  }
  for (int64_t i = threadIdx.x + int64_t{kHeld} * blockDim.x; i < width; i += blockDim.x) {
    y[i] = from_float<T>(residual[i] * scale * to_float(weight[i]));  // written by this same thread above
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
    const unsigned threads = call.width >= 1024 ? 1024 : blocks_for(call.width, 32) * 32;
    return kernels::launch<add_rms_norm_kernel<T>>(launch_of(dim3(static_cast<unsigned>(call.batch)), threads, order),
                                                   call);
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
