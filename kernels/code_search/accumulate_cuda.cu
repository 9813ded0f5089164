// Sums per codeword in 64-bit fixed point. Small books add up in shared memory first, in two 32-bit words with a carry:
// shared memory adds 32-bit integers at once, 64-bit ones only by a loop of exchanges.
#include "kernels/code_search/code_search_cuda.cuh"
#include "kernels/code_search/fixed_point.h"

namespace aqlm_exp::code_search {
namespace {

using kernels::Status;

constexpr int kThreads = 256;
constexpr int64_t kSharedCells = 12 * 1024;  // 64-bit cells of a CTA: 96 KiB, so that two fit

struct AccumulateParams {
  const int32_t* index;
  const float *values, *weights;
  float *sums, *counts;
  unsigned* largest;                            // bits of the largest |weight * value| and of the largest |weight|
  unsigned long long *sum_cells, *count_cells;  // [g][codewords], [batches][codewords]
  int64_t batches, rows, codewords;
  int group_size;
  int64_t chunk, chunks_per_batch;  // rows that one CTA takes at a time
  __device__ double sum_scale() const { return fixed_point_scale(__uint_as_float(largest[0]), batches * rows); }
  __device__ double count_scale() const { return fixed_point_scale(__uint_as_float(largest[1]), rows); }
  __device__ float weight(int64_t r) const { return weights ? __ldg(weights + r) : 1.0F; }
};

/// Magnitudes are compared as integers: the same order for positive floats.
__global__ void __launch_bounds__(kThreads) largest_kernel(const __grid_constant__ AccumulateParams p) {
  float most = 0, most_weight = 0;
  const int64_t points = p.batches * p.rows;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < points; i += int64_t{gridDim.x} * kThreads) {
    const float w = p.weight(i % p.rows);
    most_weight = fmaxf(most_weight, fabsf(w));
    for (int d = 0; d < p.group_size; ++d) most = fmaxf(most, fabsf(w * __ldg(p.values + i * p.group_size + d)));
  }
#pragma unroll
  for (int w = 16; w > 0; w /= 2) {
    most = fmaxf(most, __shfl_xor_sync(~0U, most, w));
    most_weight = fmaxf(most_weight, __shfl_xor_sync(~0U, most_weight, w));
  }
  if ((threadIdx.x & 31) == 0) {
    atomicMax(p.largest, __float_as_uint(most));
    atomicMax(p.largest + 1, __float_as_uint(most_weight));
  }
}

/// cells[i] += value, in the words low[i] and high[i] of shared memory.
__device__ __forceinline__ void add_shared(unsigned* low, unsigned* high, int64_t i, long long value) {
  const auto bits = static_cast<unsigned long long>(value);
  const auto lower = static_cast<unsigned>(bits), upper = static_cast<unsigned>(bits >> 32);
  const unsigned before = atomicAdd(low + i, lower);
  const unsigned carry = before + lower < before ? 1 : 0;
  if (upper + carry != 0) atomicAdd(high + i, upper + carry);
}

template <bool InShared>
__global__ void __launch_bounds__(kThreads) accumulate_kernel(const __grid_constant__ AccumulateParams p) {
  extern __shared__ unsigned cells[];  // low [g + 1][codewords], high the same; the last line counts
  const int64_t lines = p.group_size + 1, size = InShared ? lines * p.codewords : 0;
  unsigned *low = cells, *high = cells + size;
  for (int64_t i = threadIdx.x; i < 2 * size; i += kThreads) cells[i] = 0;
  const double scale = p.sum_scale(), count_scale = p.count_scale();
  const auto flush = [&](int64_t begin, int64_t end, unsigned long long* to) {
    for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
      const unsigned long long value = (static_cast<unsigned long long>(high[i]) << 32) | low[i];
      if (value != 0) atomicAdd(to + i - begin, value);
      low[i] = high[i] = 0;
    }
  };
  for (int64_t unit = blockIdx.x; unit < p.batches * p.chunks_per_batch; unit += gridDim.x) {
    const int64_t batch = unit / p.chunks_per_batch, first = unit % p.chunks_per_batch * p.chunk;
    const int64_t last = first + p.chunk < p.rows ? first + p.chunk : p.rows;
    if (InShared) __syncthreads();
    for (int64_t r = first + threadIdx.x; r < last; r += kThreads) {
      const int64_t point = batch * p.rows + r, k = __ldg(p.index + point);
      const auto w = static_cast<double>(p.weight(r));
      const long long count = __double2ll_rn(w * count_scale);
      if (InShared)
        add_shared(low, high, p.group_size * p.codewords + k, count);
      else
        atomicAdd(p.count_cells + batch * p.codewords + k, static_cast<unsigned long long>(count));
      for (int d = 0; d < p.group_size; ++d) {
        const long long value =
            __double2ll_rn(w * static_cast<double>(__ldg(p.values + point * p.group_size + d)) * scale);
        if (InShared)
          add_shared(low, high, d * p.codewords + k, value);
        else
          atomicAdd(p.sum_cells + d * p.codewords + k, static_cast<unsigned long long>(value));
      }
    }
    if (InShared) {
      __syncthreads();
      flush(p.group_size * p.codewords, lines * p.codewords, p.count_cells + batch * p.codewords);
    }
  }
  if (InShared) {
    __syncthreads();
    flush(0, p.group_size * p.codewords, p.sum_cells);
  }
}

__global__ void __launch_bounds__(kThreads) convert_kernel(const __grid_constant__ AccumulateParams p) {
  const double scale = p.sum_scale(), count_scale = p.count_scale();
  const int64_t step = int64_t{gridDim.x} * kThreads, start = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (int64_t i = start; i < p.codewords * p.group_size; i += step) {
    const auto cell = static_cast<long long>(p.sum_cells[i % p.group_size * p.codewords + i / p.group_size]);
    p.sums[i] = static_cast<float>(static_cast<double>(cell) / scale);
  }
  for (int64_t i = start; i < p.codewords * p.batches; i += step) {
    const auto cell = static_cast<long long>(p.count_cells[i % p.batches * p.codewords + i / p.batches]);
    p.counts[i] = static_cast<float>(static_cast<double>(cell) / count_scale);
  }
}

}  // namespace

int64_t accumulate_cuda_workspace_bytes(const NearestShape& shape) noexcept {
  return 256 + 8 * shape.codewords * (shape.group_size + shape.batches);
}

Status accumulate_cuda(const NearestShape& shape, const AccumulateCall& call, const CudaRun& run) noexcept {
  if (shape.batches < 1 || shape.rows < 1 || shape.codewords < 1 || shape.codewords > 65536 || shape.group_size < 1 ||
      shape.group_size > kMaxGroupSize)
    return Status::kUnsupportedShape;
  const int64_t sms = kernels::multiprocessors();
  if (sms == 0) return Status::kNoDevice;
  auto* memory = static_cast<unsigned char*>(run.workspace);
  AccumulateParams p{};
  p.index = call.index, p.values = call.values, p.weights = call.weights;
  p.sums = call.sums, p.counts = call.counts;
  p.largest = reinterpret_cast<unsigned*>(memory);
  p.sum_cells = reinterpret_cast<unsigned long long*>(memory + 256);
  p.count_cells = p.sum_cells + shape.codewords * shape.group_size;
  p.batches = shape.batches, p.rows = shape.rows, p.codewords = shape.codewords, p.group_size = shape.group_size;
  p.chunk = 4096;
  p.chunks_per_batch = (shape.rows + p.chunk - 1) / p.chunk;
  const auto stream = static_cast<cudaStream_t>(run.stream);
  if (cudaMemsetAsync(memory, 0, static_cast<size_t>(accumulate_cuda_workspace_bytes(shape)), stream) != cudaSuccess)
    return Status::kLaunchFailed;
  kernels::Launch how;
  how.block = dim3(kThreads);
  how.stream = stream;
  const auto grid = [&](int64_t work) {
    return dim3(static_cast<unsigned>(work < 1 ? 1 : work < 8 * sms ? work : 8 * sms));
  };
  how.grid = grid((shape.batches * shape.rows + kThreads - 1) / kThreads);
  Status status = kernels::launch<largest_kernel>(how, p);
  if (status != Status::kOk) return status;
  const int64_t cells = (shape.group_size + 1) * shape.codewords;
  how.grid = grid(shape.batches * p.chunks_per_batch);
  if (cells <= kSharedCells) {
    how.shared_bytes = 8 * cells;
    status = kernels::launch<accumulate_kernel<true>>(how, p);
  } else {
    status = kernels::launch<accumulate_kernel<false>>(how, p);
  }
  if (status != Status::kOk) return status;
  how.shared_bytes = 0;
  how.grid = grid((shape.codewords * (shape.group_size + shape.batches) + kThreads - 1) / kThreads);
  return kernels::launch<convert_kernel>(how, p);
}

}  // namespace aqlm_exp::code_search
