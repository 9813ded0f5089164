// Decode attention with everything around it: optional head norms, rotary embedding, the new row of the cache, scores,
// softmax and mix, in one launch.
//
// Grid: [splits, key-value heads, sequences]. A block takes a run of tokens; all query heads of its key-value head
// share each key and value that it loads. Tokens are taken 64 at a time: eight lanes share a key, scores go to shared
// memory, then each thread mixes two dimensions of the values for all heads. Keys and values of earlier steps do not
// depend on the predecessor: those of the first 64 tokens are asked for before it has ended, those of a next 64 as soon
// as their registers are free. The last block to finish (a ticket counts them) joins the splits, always in the same
// order.
#include <algorithm>
#include <type_traits>

#include "kernels/decode/element.cuh"

namespace aqlm_exp::decode {
namespace {

using kernels::Status;
using kernels::trigger_dependents;
using kernels::wait_for_previous;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTokens = 64;                         // a round
constexpr int kKeyRounds = kTokens / (kWarps * 4);  // a warp has four keys at a time
constexpr int kMaxHeads = 16;                       // query heads a key-value head
constexpr int kMaxSplits = kTokens;                 // they share an array

/// Elements as they lie in memory, to be unpacked when they are used.
template <typename T>
struct Raw {  // 16-bit types
  using Four = uint2;
  using Two = uint32_t;
  static __device__ __forceinline__ float4 unpack(Four v) {
    const float2 a = unpack2<T>(v.x), b = unpack2<T>(v.y);
    return make_float4(a.x, a.y, b.x, b.y);
  }
  static __device__ __forceinline__ float2 unpack(Two v) { return unpack2<T>(v); }
};
template <>
struct Raw<float> {
  using Four = float4;
  using Two = float2;
  static __device__ __forceinline__ float4 unpack(Four v) { return v; }
  static __device__ __forceinline__ float2 unpack(Two v) { return v; }
};

/// Tokens of a split: about as many splits as join in the time that a longer run would take, none below 64 tokens.
__device__ __forceinline__ int64_t tokens_per_split(int64_t length, int64_t num_splits) {
  int64_t splits = static_cast<int64_t>(0.5F * sqrtf(static_cast<float>(length)));
  splits = max(int64_t{1}, min(min(splits, num_splits), (length + 63) / 64));
  return ((length + splits - 1) / splits + 15) / 16 * 16;
}

/// Normalises if there is a weight, and rotates one head; a warp does it. out: shared, float32.
/// @param c, s cosines and sines of dimensions lane, lane + 32, ...
template <typename T, int kDim, int kAngles>
__device__ void rotate_head(const AttendCall& call, const T* head, const T* norm, const float (&c)[kAngles],
                            const float (&s)[kAngles], float* out) {
  constexpr int kHalf = kDim / 2;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float low[kAngles], high[kAngles];
#pragma unroll
  for (int j = 0; j < kAngles; ++j) {
    const int i = lane + 32 * j;
    low[j] = i < kHalf ? to_float(__ldcg(head + i)) : 0.0F;
    high[j] = i < kHalf ? to_float(__ldcg(head + i + kHalf)) : 0.0F;
  }
  if (norm) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kAngles; ++j) sum += low[j] * low[j] + high[j] * high[j];
    const float scale = rsqrtf(warp_sum(sum) / static_cast<float>(kDim) + call.norm_eps);
#pragma unroll
    for (int j = 0; j < kAngles; ++j) {
      const int i = lane + 32 * j;
      if (i < kHalf) {
        low[j] *= scale * to_float(norm[i]);
        high[j] *= scale * to_float(norm[i + kHalf]);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kAngles; ++j) {
    const int i = lane + 32 * j;
    if (i < kHalf) {
      out[i] = low[j] * c[j] - high[j] * s[j];
      out[i + kHalf] = high[j] * c[j] + low[j] * s[j];
    }
  }
}

template <typename T, int kDim, int kHeads>
__global__ void __launch_bounds__(kThreads) attend_kernel(AttendCall call) {
  using Four = typename Raw<T>::Four;
  using Two = typename Raw<T>::Two;
  constexpr int kPairs = kDim / 2;                 // dimensions, two a thread
  constexpr int kValueGroups = kThreads / kPairs;  // tokens mixed at once
  constexpr int kValueSteps = (kTokens + kValueGroups - 1) / kValueGroups;
  constexpr int kFours = kDim / 32;  // of a key, for each of its eight lanes
  constexpr int kAngles = (kDim / 2 + 31) / 32;
  constexpr int kPartial = kDim + 4;  // mix, largest, total, and two for alignment
  __shared__ __align__(16) float query[kHeads][kDim];
  __shared__ __align__(16) float key[kDim];
  __shared__ __align__(16) float value[kDim];
  __shared__ float score[kHeads][kTokens];  // later: how much each split counts
  __shared__ float largest[kHeads], total[kHeads], shrink[kHeads];
  __shared__ __align__(16) float mixed[kValueGroups][kHeads][kDim];
  __shared__ bool joins;

  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t split = blockIdx.x, kv_head = blockIdx.y, sequence = blockIdx.z;
  const int heads = static_cast<int>(call.num_heads / call.num_kv_heads);  // <= kHeads

  // Written by the step before, or by the host: known before the predecessor ends.
  const int64_t position = __ldcg(call.positions + sequence);
  const int64_t end_all = position + 1;
  const int64_t begin_all = call.window > 0 && end_all > call.window ? end_all - call.window : 0;
  const int64_t per_split = tokens_per_split(end_all - begin_all, call.num_splits);
  const int active = static_cast<int>((end_all - begin_all + per_split - 1) / per_split);
  if (split >= active) {
    wait_for_previous();
    trigger_dependents();
    return;
  }
  const int64_t begin = begin_all + split * per_split;
  const int64_t end = min(begin + per_split, end_all), cached = min(end, position);
  const int64_t cache_row = (sequence * call.num_kv_heads + kv_head) * call.capacity;
  T* keys = static_cast<T*>(call.keys) + cache_row * kDim;
  T* values = static_cast<T*>(call.values) + cache_row * kDim;
  const int part = lane % 8, key_token = warp * 4 + lane / 8;
  const int pair = thread % kPairs, value_group = thread / kPairs;
  const bool mixes = value_group < kValueGroups;

  Four key_held[kKeyRounds][kFours];
  Two value_held[kValueSteps];
  const auto fetch_keys = [&](int64_t first) {
#pragma unroll
    for (int j = 0; j < kKeyRounds; ++j) {
      const int64_t row = first + j * kWarps * 4 + key_token;
#pragma unroll
      for (int i = 0; i < kFours; ++i) {
        key_held[j][i] = Four{};
        if (row < cached) key_held[j][i] = __ldcg(reinterpret_cast<const Four*>(keys + row * kDim + part * 4 + i * 32));
      }
    }
  };
  const auto fetch_values = [&](int64_t first) {
#pragma unroll
    for (int i = 0; i < kValueSteps; ++i) {
      const int t = value_group + i * kValueGroups;
      value_held[i] = Two{};
      if (mixes && t < kTokens && first + t < cached) {
        value_held[i] = __ldcg(reinterpret_cast<const Two*>(values + (first + t) * kDim + 2 * pair));
      }
    }
  };
  fetch_keys(begin);
  fetch_values(begin);
  float c[kAngles], s[kAngles];
#pragma unroll
  for (int j = 0; j < kAngles; ++j) {
    const int i = lane + 32 * j;
    c[j] = i < kDim / 2 ? call.cos[position * (kDim / 2) + i] : 0.0F;
    s[j] = i < kDim / 2 ? call.sin[position * (kDim / 2) + i] : 0.0F;
  }
  wait_for_previous();
  trigger_dependents();

  const T* q = static_cast<const T*>(call.q) + sequence * call.q_stride + kv_head * heads * kDim;
  for (int h = warp; h < heads; h += kWarps) {
    rotate_head<T, kDim, kAngles>(call, q + h * kDim, static_cast<const T*>(call.q_norm), c, s, query[h]);
  }
  if (end == end_all) {  // this block has the new token
    const int64_t at = sequence * call.kv_stride + kv_head * kDim;
    if (warp == kWarps - 1) {
      rotate_head<T, kDim, kAngles>(call, static_cast<const T*>(call.k) + at, static_cast<const T*>(call.k_norm), c, s,
                                    key);
      __syncwarp();
      for (int i = lane; i < kDim; i += 32) {
        const T stored = from_float<T>(key[i]);
        keys[position * kDim + i] = stored;
        key[i] = to_float(stored);  // as every later step will see it
      }
    }
    for (int i = thread; i < kDim; i += kThreads) {
      const T stored = __ldcg(static_cast<const T*>(call.v) + at + i);
      values[position * kDim + i] = stored;
      value[i] = to_float(stored);
    }
  }
  for (int h = thread; h < heads; h += kThreads) {
    largest[h] = -INFINITY;
    total[h] = 0;
  }
  __syncthreads();

  float2 mix[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) mix[h] = make_float2(0, 0);

  for (int64_t first = begin; first < end; first += kTokens) {
    const int count = static_cast<int>(min(end - first, int64_t{kTokens}));
#pragma unroll
    for (int j = 0; j < kKeyRounds; ++j) {
      const int t = j * kWarps * 4 + key_token;
      float4 row[kFours];
#pragma unroll
      for (int i = 0; i < kFours; ++i) row[i] = Raw<T>::unpack(key_held[j][i]);
      if (first + t == position) {
#pragma unroll
        for (int i = 0; i < kFours; ++i) row[i] = *reinterpret_cast<const float4*>(&key[part * 4 + i * 32]);
      }
#pragma unroll
      for (int h = 0; h < kHeads; ++h) {
        if (h >= heads) break;
        float sum = 0;
#pragma unroll
        for (int i = 0; i < kFours; ++i) {
          const float4 w = *reinterpret_cast<const float4*>(&query[h][part * 4 + i * 32]);
          sum += w.x * row[i].x + w.y * row[i].y + w.z * row[i].z + w.w * row[i].w;
        }
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 4);
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 2);
        sum += __shfl_xor_sync(0xFFFFFFFFU, sum, 1);
        if (part == 0) score[h][t] = t < count ? sum * call.scale : -INFINITY;
      }
    }
    if (first + kTokens < end) fetch_keys(first + kTokens);
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
      __syncwarp();
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
#pragma unroll
      for (int i = 0; i < kValueSteps; ++i) {
        const int t = value_group + i * kValueGroups;
        if (t >= kTokens) break;  // behind `count` scores are 0
        float2 v = Raw<T>::unpack(value_held[i]);
        if (first + t == position) v = *reinterpret_cast<const float2*>(&value[2 * pair]);
#pragma unroll
        for (int h = 0; h < kHeads; ++h) {
          if (h >= heads) break;
          mix[h].x += score[h][t] * v.x;
          mix[h].y += score[h][t] * v.y;
        }
      }
    }
    if (first + kTokens < end) fetch_values(first + kTokens);
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
  // [batch, kv heads, splits, heads, kPartial]
  float* partial = call.partial + (sequence * call.num_kv_heads + kv_head) * call.num_splits * heads * kPartial;
  for (int i = thread; i < heads * kDim; i += kThreads) {
    const int h = i / kDim, d = i % kDim;
    float sum = 0;
#pragma unroll
    for (int g = 0; g < kValueGroups; ++g) sum += mixed[g][h][d];
    if (active == 1) {
      y[i] = from_float<T>(sum / total[h]);
    } else {
      partial[(split * heads + h) * kPartial + d] = sum;
    }
  }
  if (active == 1) return;
  for (int h = thread; h < heads; h += kThreads) {
    partial[(split * heads + h) * kPartial + kDim] = largest[h];
    partial[(split * heads + h) * kPartial + kDim + 1] = total[h];
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
    for (int i = lane; i < active; i += 32) {
      best = fmaxf(best, __ldcg(partial + (int64_t{i} * heads + h) * kPartial + kDim));
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) best = fmaxf(best, __shfl_xor_sync(0xFFFFFFFFU, best, offset));
    float sum = 0;
    for (int i = lane; i < active; i += 32) {
      const float* at = partial + (int64_t{i} * heads + h) * kPartial + kDim;
      const float weight = __expf(__ldcg(at) - best);
      score[h][i] = weight;
      sum += weight * __ldcg(at + 1);
    }
    sum = warp_sum(sum);
    __syncwarp();
    for (int i = lane; i < active; i += 32) score[h][i] /= sum;
  }
  __syncthreads();
  for (int i = thread; i < heads * kDim / 4; i += kThreads) {
    const int h = i / (kDim / 4), d = i % (kDim / 4) * 4;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 8
    for (int k = 0; k < active; ++k) {
      const float4 v = __ldcg(reinterpret_cast<const float4*>(partial + (int64_t{k} * heads + h) * kPartial + d));
      const float weight = score[h][k];
      sum.x += weight * v.x, sum.y += weight * v.y, sum.z += weight * v.z, sum.w += weight * v.w;
    }
    T* out = y + h * kDim + d;
    out[0] = from_float<T>(sum.x), out[1] = from_float<T>(sum.y);
    out[2] = from_float<T>(sum.z), out[3] = from_float<T>(sum.w);
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
  if (heads <= 8) return start<T, kDim, 8>(call, order);
  if constexpr (kDim == 64 || kDim == 128) return start<T, kDim, 16>(call, order);
  return Status::kUnsupportedShape;
}

}  // namespace

Status attend_cuda_supports(const AttendCall& call) noexcept {
  if (decode_cuda_available() != Status::kOk) return Status::kNoDevice;
  const bool dims = call.head_dim == 64 || call.head_dim == 96 || call.head_dim == 128 || call.head_dim == 256;
  const bool heads =
      call.num_kv_heads > 0 && call.num_heads % call.num_kv_heads == 0 &&
      call.num_heads / call.num_kv_heads <= (call.head_dim == 64 || call.head_dim == 128 ? kMaxHeads : 8);
  const bool good = dims && heads && call.batch >= 1 && call.batch <= 65535 && call.num_splits >= 1 &&
                    call.num_splits <= kMaxSplits && call.capacity > 0;
  return good ? Status::kOk : Status::kUnsupportedShape;
}

int64_t attend_scratch_floats(const AttendCall& call) noexcept {
  return call.batch * call.num_heads * call.num_splits * (call.head_dim + 4);
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
