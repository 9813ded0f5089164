// Decode attention with everything around it: optional head norms, rotary embedding, the new row of the cache, scores,
// softmax and mix, in one launch.
//
// Grid: [splits, key-value heads, sequences]. A block takes a run of tokens; all query heads of its key-value head
// share each key and value that it loads. Tokens are taken 64 at a time: eight lanes share a key (a warp has four keys
// in flight), scores go to shared memory, then each thread mixes two dimensions of the values for all heads. The last
// block to finish (a ticket counts them) joins the splits' partial results, always in the same order.
#include <algorithm>
#include <type_traits>

#include "kernels/decode/element.cuh"

namespace aqlm_exp::decode {
namespace {

using kernels::Status;
using kernels::trigger_dependents;
using kernels::wait_for_previous;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;
constexpr int kTokens = 64;    // a round
constexpr int kMaxHeads = 16;  // query heads a key-value head
constexpr int kMaxSplits = 64;

/// Normalises if there is a weight, and rotates one head; a warp does it. out: shared, float32.
template <typename T>
__device__ void rotate_head(const AttendCall& call, const T* head, const T* norm, int64_t position, float* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32, half = static_cast<int>(call.head_dim) / 2;
  float scale = 1;
  if (norm) {
    float sum = 0;
    for (int i = lane; i < 2 * half; i += 32) {
      const float x = to_float(__ldcg(head + i));
      sum += x * x;
    }
    scale = rsqrtf(warp_sum(sum) / static_cast<float>(call.head_dim) + call.norm_eps);
  }
  for (int i = lane; i < half; i += 32) {
    float low = to_float(__ldcg(head + i)), high = to_float(__ldcg(head + i + half));
    if (norm) {
      low *= scale * to_float(norm[i]);
      high *= scale * to_float(norm[i + half]);
    }
    const float c = call.cos[position * half + i], s = call.sin[position * half + i];
    out[i] = low * c - high * s;
    out[i + half] = high * c + low * s;
  }
}

/// kDim elements of a row shared by eight lanes: part p has elements 4p to 4p + 3 of each 32.
template <typename T, int kDim>
struct RowPart {
  static constexpr int kCount = kDim / 8;
  float x[kCount];
  __device__ __forceinline__ void load(const T* row, int part) {
    const T* from = row + part * 4;
    if constexpr (std::is_same_v<T, float>) {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        const float4 v = __ldcg(reinterpret_cast<const float4*>(from + i * 8));
        x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kCount; i += 4) {
        const uint2 v = __ldcg(reinterpret_cast<const uint2*>(from + i * 8));
        const float2 a = unpack2<T>(v.x), b = unpack2<T>(v.y);
        x[i] = a.x, x[i + 1] = a.y, x[i + 2] = b.x, x[i + 3] = b.y;
      }
    }
  }
};

template <typename T>
__device__ __forceinline__ float2 load_two(const T* p) {
  if constexpr (std::is_same_v<T, float>) {
    return __ldcg(reinterpret_cast<const float2*>(p));
  } else {
    return unpack2<T>(__ldcg(reinterpret_cast<const uint32_t*>(p)));
  }
}

template <typename T, int kDim, int kHeads>
__global__ void __launch_bounds__(kThreads) attend_kernel(AttendCall call) {
  constexpr int kPairs = kDim / 2;                                          // dimensions, two a thread
  constexpr int kLanesOfPairs = (kPairs + kThreads - 1) / kThreads;         // rounds over dimensions: 1, for 256 too
  constexpr int kValueGroups = kPairs >= kThreads ? 1 : kThreads / kPairs;  // tokens mixed at once
  static_assert(kLanesOfPairs == 1);
  __shared__ __align__(16) float query[kHeads][kDim];
  __shared__ float key[kDim];
  __shared__ float score[kHeads][kTokens];
  __shared__ float largest[kHeads], total[kHeads], shrink[kHeads];
  __shared__ __align__(16) float mixed[kValueGroups][kHeads][kDim];
  __shared__ float join_scale[kHeads][kMaxSplits];
  __shared__ bool joins;

  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t split = blockIdx.x, kv_head = blockIdx.y, sequence = blockIdx.z;
  const int heads = static_cast<int>(call.num_heads / call.num_kv_heads);  // <= kHeads
  wait_for_previous();
  trigger_dependents();

  const int64_t position = call.positions[sequence];
  const int64_t end_all = position + 1;
  const int64_t begin_all = call.window > 0 && end_all > call.window ? end_all - call.window : 0;
  // Splits of whole rounds of 16 tokens; those beyond the end have nothing to do.
  int64_t per_split = (end_all - begin_all + call.num_splits - 1) / call.num_splits;
  per_split = (per_split + 15) / 16 * 16;
  const int active = static_cast<int>((end_all - begin_all + per_split - 1) / per_split);
  if (split >= active) return;
  const int64_t begin = begin_all + split * per_split;
  const int64_t end = min(begin + per_split, end_all);

  const T* q = static_cast<const T*>(call.q) + sequence * call.q_stride + kv_head * heads * kDim;
  const int64_t cache_row = (sequence * call.num_kv_heads + kv_head) * call.capacity;
  T* keys = static_cast<T*>(call.keys) + cache_row * kDim;
  T* values = static_cast<T*>(call.values) + cache_row * kDim;
  for (int h = warp; h < heads; h += kWarps) {
    rotate_head(call, q + h * kDim, static_cast<const T*>(call.q_norm), position, query[h]);
  }
  if (end == end_all) {  // this block has the new token
    const int64_t at = sequence * call.kv_stride + kv_head * kDim;
    if (warp == kWarps - 1) {
      rotate_head(call, static_cast<const T*>(call.k) + at, static_cast<const T*>(call.k_norm), position, key);
      __syncwarp();
      for (int i = lane; i < kDim; i += 32) keys[position * kDim + i] = from_float<T>(key[i]);
    }
    for (int i = thread; i < kDim; i += kThreads) {
      values[position * kDim + i] = __ldcg(static_cast<const T*>(call.v) + at + i);
    }
    __threadfence_block();
  }
  for (int h = thread; h < heads; h += kThreads) {
    largest[h] = -INFINITY;
    total[h] = 0;
  }
  __syncthreads();

  const int pair = thread % kPairs, value_group = thread / kPairs;
  const bool mixes = value_group < kValueGroups;
  float2 mix[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) mix[h] = make_float2(0, 0);

  for (int64_t first = begin; first < end; first += kTokens) {
    const int count = static_cast<int>(min(end - first, int64_t{kTokens}));
    const int part = lane % 8;
    for (int t = warp * 4 + lane / 8; t < kTokens; t += kWarps * 4) {  // whole warps: the shuffles need every lane
      RowPart<T, kDim> row;
      row.load(keys + min(first + t, end - 1) * kDim, part);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        if (h >= heads) break;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < RowPart<T, kDim>::kCount; i += 4) {
          const float4 w = *reinterpret_cast<const float4*>(&query[h][part * 4 + i * 8]);
          sum += w.x * row.x[i] + w.y * row.x[i + 1] + w.z * row.x[i + 2] + w.w * row.x[i + 3];
        }
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 4);
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 1);
        if (part == 0) score[h][t] = t < count ? sum * call.scale : -INFINITY;
      }
    }
    __syncthreads();
    for (int h = warp; h < heads; h += kWarps) {  // softmax of this round, two tokens a lane
      const float a = score[h][lane], b = score[h][lane + 32];
      float best = fmaxf(a, b);
#pragma unroll
      for (int offset = 16; offset > 0; offset /= 2) best = fmaxf(best, __shfl_xor_sync(0xFFFFFFFFU, best, offset));
      best = fmaxf(best, largest[h]);
      const float pa = __expf(a - best), pb = __expf(b - best);
      score[h][lane] = pa;
      score[h][lane + 32] = pb;
      const float sum = warp_sum(pa + pb);
      if (lane == 0) {
        shrink[h] = __expf(largest[h] - best);  // 0 in the first round
        total[h] = total[h] * shrink[h] + sum;
        largest[h] = best;
      }
    }
    __syncthreads();
    if (mixes) {
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        if (h >= heads) break;
        mix[h].x *= shrink[h];
        mix[h].y *= shrink[h];
      }
#pragma unroll 4
      for (int t = value_group; t < count; t += kValueGroups) {
        const float2 v = load_two(values + (first + t) * kDim + 2 * pair);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          if (h >= heads) break;
          mix[h].x += score[h][t] * v.x;
          mix[h].y += score[h][t] * v.y;
        }
      }
    }
    __syncthreads();
  }
  if (mixes) {
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h >= heads) break;
      *reinterpret_cast<float2*>(&mixed[value_group][h][2 * pair]) = mix[h];
    }
  }
  __syncthreads();

  T* y = static_cast<T*>(call.y) + (sequence * call.num_heads + kv_head * heads) * kDim;
  // [batch, kv heads, splits, heads, kDim + 2]: mix, largest, total
  float* partial = call.partial + (sequence * call.num_kv_heads + kv_head) * call.num_splits * heads * (kDim + 2);
  for (int i = thread; i < heads * kDim; i += kThreads) {
    const int h = i / kDim, d = i % kDim;
    float sum = 0;
#pragma unroll
    for (int g = 0; g < kValueGroups; ++g) sum += mixed[g][h][d];
    if (active == 1) {
      y[i] = from_float<T>(sum / total[h]);
    } else {
      partial[(split * heads + h) * (kDim + 2) + d] = sum;
    }
  }
  if (active == 1) return;
  for (int h = thread; h < heads; h += kThreads) {
    partial[(split * heads + h) * (kDim + 2) + kDim] = largest[h];
    partial[(split * heads + h) * (kDim + 2) + kDim + 1] = total[h];
  }
  __threadfence();
  __syncthreads();
  if (thread == 0) {
    uint32_t* ticket = call.tickets + sequence * call.num_kv_heads + kv_head;
    joins = atomicAdd(ticket, 1U) == static_cast<uint32_t>(active) - 1;
    if (joins) *ticket = 0;
  }
  __syncthreads();
  if (!joins) return;
  __threadfence();
  for (int h = warp; h < heads; h += kWarps) {
    float best = -INFINITY;
    for (int s = lane; s < active; s += 32) {
      best = fmaxf(best, __ldcg(partial + (int64_t{s} * heads + h) * (kDim + 2) + kDim));
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) best = fmaxf(best, __shfl_xor_sync(0xFFFFFFFFU, best, offset));
    float sum = 0;
    for (int s = lane; s < active; s += 32) {
      const float* at = partial + (int64_t{s} * heads + h) * (kDim + 2) + kDim;
      const float weight = __expf(__ldcg(at) - best);
      join_scale[h][s] = weight;
      sum += weight * __ldcg(at + 1);
    }
    sum = warp_sum(sum);
    __syncwarp();
    for (int s = lane; s < active; s += 32) join_scale[h][s] /= sum;
  }
  __syncthreads();
  for (int i = thread; i < heads * kDim; i += kThreads) {
    const int h = i / kDim, d = i % kDim;
    float sum = 0;
#pragma unroll 8
    for (int s = 0; s < active; ++s) {
      sum += join_scale[h][s] * __ldcg(partial + (int64_t{s} * heads + h) * (kDim + 2) + d);
    }
    y[i] = from_float<T>(sum);
  }
}

template <typename T, int kDim, int kHeads>
Status start(const AttendCall& call, const Order& order) noexcept {
  const dim3 grid(static_cast<unsigned>(call.num_splits), static_cast<unsigned>(call.num_kv_heads),
                  static_cast<unsigned>(call.batch));
  return kernels::launch<attend_kernel<T, kDim, kHeads>>({.grid = grid,
                                                          .block = dim3(kThreads),
                                                          .programmatic = order.programmatic,
                                                          .stream = static_cast<cudaStream_t>(order.stream)},
                                                         call);
}

template <typename T, int kDim>
Status start_heads(const AttendCall& call, const Order& order) noexcept {
  const int64_t heads = call.num_heads / call.num_kv_heads;
  if (heads == 1) return start<T, kDim, 1>(call, order);
  if (heads <= 4) return start<T, kDim, 4>(call, order);
  if (heads <= 8) return start<T, kDim, 8>(call, order);
  if constexpr (kDim <= 128) return start<T, kDim, 16>(call, order);
  return Status::kUnsupportedShape;  // static shared memory ends at 48 KiB
}

}  // namespace

Status attend_cuda_supports(const AttendCall& call) noexcept {
  if (decode_cuda_available() != Status::kOk) return Status::kNoDevice;
  const bool dims = call.head_dim == 64 || call.head_dim == 96 || call.head_dim == 128 || call.head_dim == 256;
  const bool heads = call.num_kv_heads > 0 && call.num_heads % call.num_kv_heads == 0 &&
                     call.num_heads / call.num_kv_heads <= (call.head_dim == 256 ? 8 : kMaxHeads);
  const bool good = dims && heads && call.batch >= 1 && call.batch <= 65535 && call.num_splits >= 1 &&
                    call.num_splits <= kMaxSplits && call.capacity > 0;
  return good ? Status::kOk : Status::kUnsupportedShape;
}

int64_t attend_scratch_floats(const AttendCall& call) noexcept {
  return call.batch * call.num_heads * call.num_splits * (call.head_dim + 2);
}

Status attend_cuda(const AttendCall& call, const Order& order) noexcept {
  if (const Status status = attend_cuda_supports(call); status != Status::kOk) return status;
  return with_element(call.element, [&](auto* t) {
    using T = std::remove_pointer_t<decltype(t)>;
    switch (call.head_dim) {
      case 64:
        return start_heads<T, 64>(call, order);
      case 96:
        return start_heads<T, 96>(call, order);
      case 128:
        return start_heads<T, 128>(call, order);
      default:
        return start_heads<T, 256>(call, order);
    }
  });
}

}  // namespace aqlm_exp::decode
