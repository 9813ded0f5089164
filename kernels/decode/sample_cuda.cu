// The next token, by the rule of kernels/decode/sample.h: one block of 1024 threads a sequence.
//
// Largest logit first; greedy ends there. top-k and top-p each find an edge in the order of logits by descending three
// digits of the float's ordered bits (11, 11, 10): a histogram of counts or of weights, then the bin in which the
// wanted sum is reached. Weights are whole numbers, so that atomics in any order give one answer.
#include <algorithm>

#include "kernels/decode/element.cuh"

namespace aqlm_exp::decode {
namespace {

using kernels::Status;
using kernels::trigger_dependents;
using kernels::wait_for_previous;

constexpr int kThreads = 1024;
constexpr int kBins = 2048;
constexpr float kOne = 4294967296.0F;

constexpr uint32_t kInfinity = 0xFF800000U;        // its ordered bits,
constexpr uint32_t kMinusInfinity = ~0xFF800000U;  // and those of the least number

/// Bits in the order of the numbers. NaN counts as the least. Integers only: ptxas 13.0 takes max(x, -inf) for x and
/// x > -inf for x != -inf, which NaN passes.
__device__ __forceinline__ uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return 0;
  return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}
__device__ __forceinline__ float from_ordered(uint32_t key) {
  return __uint_as_float(key & 0x80000000U ? key & 0x7FFFFFFFU : ~key);
}

struct Row {
  const float* logits;
  int64_t size;
  float largest, inverse_temperature;
  __device__ __forceinline__ uint64_t weight(float logit) const {
    return static_cast<uint64_t>(expf((logit - largest) * inverse_temperature) * kOne);
  }
};

/// Calls f(logit) for every logit, eight loads in flight.
template <class F>
__device__ __forceinline__ void for_each(const Row& row, const F& f) {
  for (int64_t first = threadIdx.x; first < row.size; first += 8 * kThreads) {
    float x[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t i = first + j * kThreads;
      x[j] = i < row.size ? __ldcg(row.logits + i) : __uint_as_float(0x7FC00000U);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (first + j * kThreads < row.size) f(x[j]);
    }
  }
}

__device__ uint64_t block_sum_u64(uint64_t x, uint64_t* scratch) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFU, x, offset);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  uint64_t sum = 0;
  for (int i = 0; i < kThreads / 32; ++i) sum += scratch[i];
  return sum;
}

/// The largest key such that the tokens with that key or a larger one sum to at least `need`. Only keys >= `edge`
/// count; need must not exceed their sum. Weight is 1 or the token's weight.
template <bool kWeighted>
__device__ uint32_t descend(const Row& row, uint32_t edge, uint64_t need, unsigned long long* bins, uint32_t* result,
                            uint64_t* rest) {
  uint32_t prefix = 0, known = 0;  // digits found so far, and a mask of their bits
  const int shifts[3] = {21, 10, 0};
  for (int pass = 0; pass < 3; ++pass) {
    const int shift = shifts[pass];
    const uint32_t digit_mask = pass == 2 ? 1023U : 2047U;
    for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kThreads) bins[i] = 0;
    __syncthreads();
    for_each(row, [&](float logit) {
      const uint32_t key = ordered(logit);
      if (key < edge || (key & known) != prefix) return;
      const uint64_t weight = kWeighted ? row.weight(logit) : 1;
      if (weight > 0) atomicAdd(bins + ((key >> shift) & digit_mask), static_cast<unsigned long long>(weight));
    });
    __syncthreads();
    if (threadIdx.x < 32) {  // lane 0 has the uppermost 64 bins
      const int top = kBins - 1 - static_cast<int>(threadIdx.x) * 64;
      uint64_t mine = 0;
      for (int i = 0; i < 64; ++i) mine += bins[top - i];
      uint64_t upto = mine;
#pragma unroll
      for (int offset = 1; offset < 32; offset *= 2) {
        const uint64_t other = __shfl_up_sync(0xFFFFFFFFU, upto, offset);
        if (static_cast<int>(threadIdx.x) >= offset) upto += other;
      }
      if (upto >= need && upto - mine < need) {  // exactly one lane
        uint64_t sum = upto - mine;
        for (int i = 0; i < 64; ++i) {
          const uint64_t bin = bins[top - i];
          if (sum + bin >= need) {
            *result = static_cast<uint32_t>(top - i);
            *rest = need - sum;
            break;
          }
          sum += bin;
        }
      }
    }
    __syncthreads();
    prefix |= *result << shift;
    known |= digit_mask << shift;
    need = *rest;
    __syncthreads();
  }
  return prefix;
}

__global__ void __launch_bounds__(kThreads, 1) sample_kernel(SampleCall call) {
  __shared__ unsigned long long bins[kBins];
  __shared__ uint64_t scratch[32];
  __shared__ uint64_t rest;
  __shared__ uint32_t digit;
  __shared__ uint32_t best_key[32];
  __shared__ int64_t best_id[32];
  __shared__ int64_t chosen;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t sequence = blockIdx.x;
  wait_for_previous();
  trigger_dependents();

  const SampleParams params = call.params[sequence];
  float* logits = call.logits + sequence * call.vocab_size;
  uint8_t* seen = call.seen ? call.seen + sequence * call.vocab_size : nullptr;
  if (seen && params.repetition_penalty != 1.0F) {
    for (int64_t i = thread; i < call.vocab_size; i += kThreads) {
      if (seen[i]) {
        const float x = __ldcg(logits + i);
        logits[i] = x > 0 ? x / params.repetition_penalty : x * params.repetition_penalty;
      }
    }
    __threadfence_block();
    __syncthreads();
  }

  // The largest logit, the lowest id among equals.
  uint32_t top = 0;
  int64_t best = call.vocab_size;
  for (int64_t first = thread; first < call.vocab_size; first += 8 * kThreads) {
    uint32_t key[8];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t i = first + j * kThreads;
      key[j] = i < call.vocab_size ? ordered(__ldcg(logits + i)) : 0;
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (key[j] > top) {  // a thread's ids ascend: the first of equals stays
        top = key[j];
        best = first + j * kThreads;
      }
    }
  }
  const auto better = [](uint32_t x, int64_t i, uint32_t y, int64_t k) { return x > y || (x == y && i < k); };
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const uint32_t other = __shfl_xor_sync(0xFFFFFFFFU, top, offset);
    const int64_t id = __shfl_xor_sync(0xFFFFFFFFU, best, offset);
    if (better(other, id, top, best)) top = other, best = id;
  }
  if (lane == 0) best_key[warp] = top, best_id[warp] = best;
  __syncthreads();
  top = best_key[0], best = best_id[0];
  for (int i = 1; i < kThreads / 32; ++i) {
    if (better(best_key[i], best_id[i], top, best)) top = best_key[i], best = best_id[i];
  }
  if (top <= kMinusInfinity || top >= kInfinity) {
    best = -1;  // no number among them, or one beyond all
  } else if (params.temperature > 0) {
    const Row row{logits, call.vocab_size, from_ordered(top), 1.0F / params.temperature};
    uint32_t edge = 1;  // NaN has 0
    if (params.top_k > 0 && params.top_k < call.vocab_size) {
      uint64_t numbers = 0;
      for_each(row, [&](float x) { numbers += ordered(x) > 0; });
      numbers = block_sum_u64(numbers, scratch);
      const uint64_t need = min(numbers, static_cast<uint64_t>(params.top_k));
      edge = descend<false>(row, edge, need, bins, &digit, &rest);
    }
    if (params.top_p < 1.0F) {
      uint64_t mass = 0;
      for_each(row, [&](float x) { mass += ordered(x) >= edge ? row.weight(x) : 0; });
      mass = block_sum_u64(mass, scratch);
      const auto need = static_cast<uint64_t>(ceil(static_cast<double>(params.top_p) * static_cast<double>(mass)));
      edge = descend<true>(row, edge, max(need, uint64_t{1}), bins, &digit, &rest);
    }
    const uint64_t least = params.min_p > 0 ? static_cast<uint64_t>(params.min_p * kOne) : 0;
    // Each warp has a run of ids, so that weights add up in the order of ids.
    const int64_t run = (call.vocab_size + 31) / 32;
    const int64_t begin = min(warp * run, call.vocab_size), end = min(begin + run, call.vocab_size);
    const auto kept = [&](int64_t i) -> uint64_t {
      if (i >= end) return 0;
      const float x = __ldcg(logits + i);
      if (ordered(x) < edge) return 0;
      const uint64_t weight = row.weight(x);
      return weight >= least ? weight : 0;
    };
    uint64_t mine = 0;
#pragma unroll 8
    for (int64_t i = begin + lane; i < begin + run; i += 32) mine += kept(i);
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) mine += __shfl_xor_sync(0xFFFFFFFFU, mine, offset);
    __syncthreads();
    if (lane == 0) scratch[warp] = mine;
    __syncthreads();
    uint64_t total = 0, before = 0;
    for (int i = 0; i < 32; ++i) {
      if (i < warp) before += scratch[i];
      total += scratch[i];
    }
    const double uniform = call.uniforms[*call.step * call.batch + sequence];
    const uint64_t target = min(static_cast<uint64_t>(uniform * static_cast<double>(total)), total - 1);
    if (before <= target && target < before + mine) {  // exactly one warp: total > 0, the largest weighs 2^32
      uint64_t sum = before;
      for (int64_t first = begin; first < end; first += 32) {
        const uint64_t weight = kept(first + lane);
        uint64_t upto = weight;
#pragma unroll
        for (int offset = 1; offset < 32; offset *= 2) {
          const uint64_t other = __shfl_up_sync(0xFFFFFFFFU, upto, offset);
          if (lane >= offset) upto += other;
        }
        const unsigned reached = __ballot_sync(0xFFFFFFFFU, sum + upto > target);
        if (reached) {
          if (lane == __ffs(static_cast<int>(reached)) - 1) chosen = first + lane;
          break;
        }
        sum += __shfl_sync(0xFFFFFFFFU, upto, 31);
      }
    }
    __syncthreads();
    best = chosen;
  }

  if (thread == 0) {
    const int64_t step = *call.step;
    call.ids[sequence] = best < 0 ? 0 : best;
    call.history[step * call.batch + sequence] = best;
    call.positions[sequence] += 1;
    if (seen && best >= 0) seen[best] = 1;
    __threadfence();
    if (atomicAdd(call.ticket, 1U) == static_cast<uint32_t>(call.batch) - 1) {  // all have read `step`
      *call.ticket = 0;
      *call.step = step + 1;
    }
  }
}

}  // namespace

Status sample_cuda(const SampleCall& call, const Order& order) noexcept {
  if (call.batch < 1 || call.batch > 65535 || call.vocab_size < 1) return Status::kUnsupportedShape;
  return kernels::launch<sample_kernel>({.grid = dim3(static_cast<unsigned>(call.batch)),
                                         .block = dim3(kThreads),
                                         .programmatic = order.programmatic,
                                         .stream = static_cast<cudaStream_t>(order.stream)},
                                        call);
}

}  // namespace aqlm_exp::decode
