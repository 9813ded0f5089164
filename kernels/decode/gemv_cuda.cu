// Matrix times one to four vectors with 16-bit weights: as fast as the weights arrive.
//
// A block of eight warps stages x in shared memory as float32 (normalised there if asked: each block does it again,
// which costs less than a launch), then its warps walk over rows. A lane holds 16 bytes a load, kLoads loads a group,
// and the next group is in flight while the current one is multiplied; the first group is asked for before the
// predecessor has ended. The grid is what the device holds at once, so that x is staged once a block.
#include <algorithm>
#include <type_traits>

#include "kernels/decode/element.cuh"

namespace aqlm_exp::decode {
namespace {

using kernels::load_shared16;
using kernels::load_stream16;
using kernels::Status;
using kernels::trigger_dependents;
using kernels::wait_for_previous;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;
constexpr int kChunk = 256;  // inputs that a warp covers with one load a lane
constexpr int64_t kMaxStaged = 49152;

/// Eight values of x as staged: per chunk two halves of [32 lanes][4 floats], so that a lane's 16-byte reads meet no
/// bank conflict.
__device__ __forceinline__ float4* staged_at(float* staged, int64_t eight) {
  return reinterpret_cast<float4*>(staged + eight / 32 * kChunk + eight % 32 * 4);
}
constexpr int kSecondHalf = 32;  // float4s between the two

/// What the predecessor wrote is read past L1 (__ldcg): the read-only path could hold older values.
template <typename T, int kBatch>
__device__ void stage(const GemvCall& call, int64_t padded, float* staged, float* scratch) {
  const int64_t eights = padded / 8, full = call.inputs / 8;
#pragma unroll
  for (int b = 0; b < kBatch; ++b) {
    float* out = staged + b * padded;
    if (call.norm_weight) {
      const float4* x = reinterpret_cast<const float4*>(static_cast<const float*>(call.x) + b * call.inputs);
      float sum = 0;
#pragma unroll 4
      for (int64_t i = threadIdx.x; i < eights; i += kThreads) {
        float4 low = make_float4(0, 0, 0, 0), high = low;
        if (i < full) {
          low = __ldcg(x + 2 * i);
          high = __ldcg(x + 2 * i + 1);
        }
        sum += low.x * low.x + low.y * low.y + low.z * low.z + low.w * low.w;
        sum += high.x * high.x + high.y * high.y + high.z * high.z + high.w * high.w;
        float4* at = staged_at(out, i);
        at[0] = low;
        at[kSecondHalf] = high;
      }
      __syncthreads();  // scratch may still be read for the vector before
      const float scale = rsqrtf(block_sum(sum, scratch) / static_cast<float>(call.inputs) + call.eps);
      const T* weight = static_cast<const T*>(call.norm_weight);
      for (int64_t i = threadIdx.x; i < full; i += kThreads) {  // the values that this thread staged
        const uint4 packed = *reinterpret_cast<const uint4*>(weight + 8 * i);
        const float2 w0 = unpack2<T>(packed.x), w1 = unpack2<T>(packed.y), w2 = unpack2<T>(packed.z),
                     w3 = unpack2<T>(packed.w);
        float4* at = staged_at(out, i);
        const float4 low = at[0], high = at[kSecondHalf];
        at[0] = make_float4(low.x * scale * w0.x, low.y * scale * w0.y, low.z * scale * w1.x, low.w * scale * w1.y);
        at[kSecondHalf] =
            make_float4(high.x * scale * w2.x, high.y * scale * w2.y, high.z * scale * w3.x, high.w * scale * w3.y);
      }
    } else {
      const uint4* x = reinterpret_cast<const uint4*>(static_cast<const T*>(call.x) + b * call.inputs);
#pragma unroll 4
      for (int64_t i = threadIdx.x; i < eights; i += kThreads) {
        uint4 packed = make_uint4(0, 0, 0, 0);
        if (i < full) packed = __ldcg(x + i);
        const float2 x0 = unpack2<T>(packed.x), x1 = unpack2<T>(packed.y), x2 = unpack2<T>(packed.z),
                     x3 = unpack2<T>(packed.w);
        float4* at = staged_at(out, i);
        at[0] = make_float4(x0.x, x0.y, x1.x, x1.y);
        at[kSecondHalf] = make_float4(x2.x, x2.y, x3.x, x3.y);
      }
    }
  }
  __syncthreads();
}

template <typename T>
__device__ __forceinline__ void write(const GemvCall& call, int64_t b, int64_t row, float sum, float up) {
  if (call.epilogue == Epilogue::kSiluMul) {
    static_cast<T*>(call.y)[b * call.rows + row] = from_float<T>(sum / (1.0F + __expf(-sum)) * up);
    return;
  }
  if (call.bias) sum += to_float(static_cast<const T*>(call.bias)[row]);
  if (call.epilogue == Epilogue::kStore) {
    static_cast<T*>(call.y)[b * call.rows + row] = from_float<T>(sum);
  } else if (call.epilogue == Epilogue::kStoreFloat) {
    static_cast<float*>(call.y)[b * call.rows + row] = sum;
  } else {
    float* y = static_cast<float*>(call.y) + b * call.rows + row;
    *y = __ldcg(y) + sum;
  }
}

/// kRows: matrix rows a warp takes together; 2 is the gate and up row of one output.
template <typename T, int kBatch, int kRows, int kLoads>
__global__ void __launch_bounds__(kThreads) gemv_kernel(GemvCall call) {
  extern __shared__ float staged[];
  __shared__ float scratch[32];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t padded = (call.inputs + kChunk - 1) / kChunk * kChunk;
  const int64_t groups = (padded / kChunk + kLoads - 1) / kLoads;
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  const T* weight = static_cast<const T*>(call.weight);
  int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  int64_t group = 0;

  const auto fetch = [&](int64_t at_row, int64_t at_group, uint4(&into)[kRows][kLoads]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const T* line = weight + (at_row + r * call.rows) * call.inputs;
#pragma unroll
      for (int j = 0; j < kLoads; ++j) {
        const int64_t i = (at_group * kLoads + j) * kChunk + lane * 8;
        into[r][j] = make_uint4(0, 0, 0, 0);
        if (i < call.inputs) into[r][j] = load_stream16(line + i);
      }
    }
  };

  uint4 next[kRows][kLoads];
  if (row < call.rows) fetch(row, 0, next);
  wait_for_previous();
  trigger_dependents();
  stage<T, kBatch>(call, padded, staged, scratch);

  float sums[kRows][kBatch] = {};
  const uint32_t base = kernels::shared_address(staged);
  while (row < call.rows) {
    uint4 now[kRows][kLoads];
#pragma unroll
    for (int r = 0; r < kRows; ++r)
#pragma unroll
      for (int j = 0; j < kLoads; ++j) now[r][j] = next[r][j];
    const bool last = group + 1 == groups;
    const int64_t next_row = last ? row + stride : row, next_group = last ? 0 : group + 1;
    if (next_row < call.rows) fetch(next_row, next_group, next);
#pragma unroll
    for (int j = 0; j < kLoads; ++j) {
      const int64_t chunk = group * kLoads + j;
      if (chunk * kChunk >= padded) break;
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const uint32_t at = base + static_cast<uint32_t>((b * padded + chunk * kChunk + lane * 4) * 4);
        const uint4 low = load_shared16(at), high = load_shared16(at + 512);
        const float x[8] = {__uint_as_float(low.x),  __uint_as_float(low.y),  __uint_as_float(low.z),
                            __uint_as_float(low.w),  __uint_as_float(high.x), __uint_as_float(high.y),
                            __uint_as_float(high.z), __uint_as_float(high.w)};
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          const float2 w0 = unpack2<T>(now[r][j].x), w1 = unpack2<T>(now[r][j].y), w2 = unpack2<T>(now[r][j].z),
                       w3 = unpack2<T>(now[r][j].w);
          sums[r][b] += w0.x * x[0] + w0.y * x[1] + w1.x * x[2] + w1.y * x[3] + w2.x * x[4] + w2.y * x[5] +
                        w3.x * x[6] + w3.y * x[7];
        }
      }
    }
    if (last) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) {
        const float sum = warp_sum(sums[0][b]);
        const float up = kRows == 2 ? warp_sum(sums[kRows - 1][b]) : 0.0F;
        if (lane == 0) write<T>(call, b, row, sum, up);
#pragma unroll
        for (int r = 0; r < kRows; ++r) sums[r][b] = 0;
      }
    }
    row = next_row;
    group = next_group;
  }
}

template <typename T, int kBatch, int kRows, int kLoads>
Status start(const GemvCall& call, const Order& order) noexcept {
  constexpr auto kKernel = gemv_kernel<T, kBatch, kRows, kLoads>;
  const int64_t padded = (call.inputs + kChunk - 1) / kChunk * kChunk;
  const int64_t bytes = padded * kBatch * 4;
  if (!kernels::allow_shared<kKernel>(bytes)) return Status::kUnsupportedShape;
  int per_multiprocessor = 0;
  if (cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kKernel, kThreads,
                                                    static_cast<size_t>(bytes)) != cudaSuccess ||
      per_multiprocessor < 1) {
    cudaGetLastError();
    return Status::kUnsupportedShape;
  }
  const int64_t wanted = (call.rows + kWarps - 1) / kWarps;
  int64_t held = int64_t{per_multiprocessor} * kernels::multiprocessors();
  // Rounds of equal length: 2.1 rounds of all blocks take as long as 3 of fewer blocks, which stage x less often.
  const int64_t rounds = (wanted + held - 1) / held;
  held = (wanted + rounds - 1) / rounds;
  return kernels::launch<kKernel>({.grid = dim3(static_cast<unsigned>(held)),
                                   .block = dim3(kThreads),
                                   .shared_bytes = bytes,
                                   .programmatic = order.programmatic,
                                   .stream = static_cast<cudaStream_t>(order.stream)},
                                  call);
}

template <typename T, int kBatch>
Status start_rows(const GemvCall& call, const Order& order) noexcept {
  if (call.epilogue == Epilogue::kSiluMul) return start<T, kBatch, 2, 4>(call, order);
  return start<T, kBatch, 1, 8>(call, order);
}

template <typename T>
Status start_batch(const GemvCall& call, const Order& order) noexcept {
  switch (call.batch) {
    case 1:
      return start_rows<T, 1>(call, order);
    case 2:
      return start_rows<T, 2>(call, order);
    case 3:
      return start_rows<T, 3>(call, order);
    case 4:
      return start_rows<T, 4>(call, order);
    default:
      return Status::kUnsupportedShape;
  }
}

}  // namespace

Status gemv_cuda_supports(const GemvCall& call) noexcept {
  if (decode_cuda_available() != Status::kOk) return Status::kNoDevice;
  const int64_t padded = (call.inputs + kChunk - 1) / kChunk * kChunk;
  const bool good = call.element != Element::kF32 && call.rows > 0 && call.inputs > 0 && call.inputs % 8 == 0 &&
                    call.batch >= 1 && call.batch <= 4 && call.batch * padded <= kMaxStaged;
  return good ? Status::kOk : Status::kUnsupportedShape;
}

Status gemv_cuda(const GemvCall& call, const Order& order) noexcept {
  if (const Status status = gemv_cuda_supports(call); status != Status::kOk) return status;
  if (call.element == Element::kF16) return start_batch<__half>(call, order);
  return start_batch<__nv_bfloat16>(call, order);
}

}  // namespace aqlm_exp::decode
