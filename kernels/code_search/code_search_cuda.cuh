// What the code-search kernels share: the search of one book for a tile of queries, and the tables a search reads.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/code_search/code_search_cuda.h"
#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::code_search::gpu {

constexpr int kThreads = 512, kWarps = kThreads / 32;  // four warps a scheduler: each may use 128 registers
constexpr float kInfinity = __builtin_huge_valf();

__device__ __forceinline__ void unpack(float4 v, float* to) { to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w; }

/// Shared memory of a search: results of a tile of queries.
template <int R>
struct Found {
  float warp_low[kWarps][R];
  int warp_where[kWarps][R];  // of the search of pairs
  float low[R];
  int index[R];
};

/// Lowest score over a book, and its lowest index, for R queries. In: minus2u [R][G] in shared memory, synchronised.
/// Out: found.low, found.index, synchronised. All threads call.
///
/// A thread holds 4 or 8 queries in registers and walks every (warps x lanes)-th codeword: 8 multiply-adds and one
/// minimum a score and nothing else. It remembers the run of codewords in which its minimum fell, and only the winner
/// looks into its run again for the index; equal minima meet in an integer atomic minimum, so the lowest index wins.
template <int G, int R>
__device__ void search_book(const float* minus2u, const float* __restrict__ book, const float* __restrict__ bias,
                            int codewords, Found<R>& found) {
  constexpr int kQueries = G > 8 ? 4 : 8, kLanesQ = R / kQueries, kLanesK = 32 / kLanesQ, kStep = kWarps * kLanesK;
  constexpr int kRun = 4;  // codewords between two looks at whose minimum it was
  static_assert(R % kQueries == 0 && kLanesQ >= 1 && kLanesQ <= 32);
  const int lane = static_cast<int>(threadIdx.x) & 31, warp = static_cast<int>(threadIdx.x) >> 5;
  const int q0 = lane / kLanesK * kQueries, mine = warp * kLanesK + lane % kLanesK;
  float u[kQueries][G], best[kQueries];
  int run_of[kQueries];
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    best[q] = kInfinity;
    run_of[q] = 0;
#pragma unroll
    for (int d = 0; d < G; d += 4) unpack(*reinterpret_cast<const float4*>(minus2u + (q0 + q) * G + d), &u[q][d]);
  }
  float word[G], start;
  const auto load = [&](int k, float(&w)[G], float& s) {
    s = kInfinity;
#pragma unroll
    for (int d = 0; d < G; ++d) w[d] = 0;
    if (k < codewords) {
      s = __ldg(bias + k);
#pragma unroll
      for (int d = 0; d < G; d += 4) unpack(__ldg(reinterpret_cast<const float4*>(book + int64_t{k} * G + d)), &w[d]);
    }
  };
  const auto score = [&](const float(&w)[G], float s, int q) {
#pragma unroll
    for (int d = 0; d < G; ++d) s = fmaf(u[q][d], w[d], s);
    return s;
  };
  load(mine, word, start);
  const int runs = (codewords + kStep * kRun - 1) / (kStep * kRun);
  for (int run = 0; run < runs; ++run) {
    float low[kQueries];
#pragma unroll
    for (int q = 0; q < kQueries; ++q) low[q] = best[q];
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
      float next[G], next_start;
      load((run * kRun + i + 1) * kStep + mine, next, next_start);
#pragma unroll
      for (int q = 0; q < kQueries; ++q) low[q] = fminf(low[q], score(word, start, q));
#pragma unroll
      for (int d = 0; d < G; ++d) word[d] = next[d];
      start = next_start;
    }
#pragma unroll
    for (int q = 0; q < kQueries; ++q)
      if (low[q] < best[q]) best[q] = low[q], run_of[q] = run;
  }
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    float low = best[q];
#pragma unroll
    for (int w = 1; w < kLanesK; w *= 2) low = fminf(low, __shfl_xor_sync(~0U, low, w));
    if (lane % kLanesK == 0) found.warp_low[warp][q0 + q] = low;
  }
  __syncthreads();
  if (threadIdx.x < R) {
    float low = found.warp_low[0][threadIdx.x];
    for (int w = 1; w < kWarps; ++w) low = fminf(low, found.warp_low[w][threadIdx.x]);
    found.low[threadIdx.x] = low;
    found.index[threadIdx.x] = low < kInfinity ? 0x7FFFFFFF : 0;
  }
  __syncthreads();
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    if (!(best[q] < kInfinity) || best[q] != found.low[q0 + q]) continue;
    for (int i = 0; i < kRun; ++i) {
      const int k = (run_of[q] * kRun + i) * kStep + mine;
      load(k, word, start);
      if (score(word, start, q) == best[q]) {
        atomicMin(&found.index[q0 + q], k);
        break;
      }
    }
  }
  __syncthreads();
}

/// One score as search_book adds it up, bit for bit.
template <int G>
__device__ float score_one(const float* minus2u, const float* __restrict__ word, float bias) {
#pragma unroll
  for (int d = 0; d < G; ++d) bias = fmaf(minus2u[d], __ldg(word + d), bias);
  return bias;
}

struct NormsParams {
  const float* books;   // [books][codewords][G]
  const float* metric;  // [metrics][G][G], or null: |c|^2
  float* out;           // [metrics][books][codewords]
  int codewords, books_count;
};

/// out = c metric c^T; grid (codewords / 256, books, metrics).
template <int G>
__global__ void __launch_bounds__(256) norms_kernel(const __grid_constant__ NormsParams p) {
  __shared__ float metric[G * G];
  if (p.metric) {
    for (int i = static_cast<int>(threadIdx.x); i < G * G; i += 256)
      metric[i] = p.metric[int64_t{blockIdx.z} * G * G + i];
    __syncthreads();
  }
  const int k = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x);
  if (k >= p.codewords) return;
  const float* from = p.books + (int64_t{blockIdx.y} * p.codewords + k) * G;
  float word[G], sum = 0;
#pragma unroll
  for (int d = 0; d < G; ++d) word[d] = __ldg(from + d);
#pragma unroll
  for (int d = 0; d < G; ++d) {
    float image = word[d];
    if (p.metric) {
      image = 0;
#pragma unroll
      for (int e = 0; e < G; ++e) image = fmaf(metric[d * G + e], word[e], image);
    }
    sum = fmaf(word[d], image, sum);
  }
  p.out[(int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * p.codewords + k] = sum;
}

/// Norms of `books` books for `metrics` metrics, in launches of at most 65535 metrics.
template <int G>
kernels::Status launch_norms(NormsParams p, int64_t metrics, cudaStream_t stream) noexcept {
  for (int64_t first = 0; first < metrics; first += 65535) {
    const int64_t some = metrics - first < 65535 ? metrics - first : 65535;
    NormsParams part = p;
    if (p.metric) part.metric += first * G * G;
    part.out += first * p.books_count * p.codewords;
    kernels::Launch how;
    how.grid = dim3(static_cast<unsigned>((p.codewords + 255) / 256), static_cast<unsigned>(p.books_count),
                    static_cast<unsigned>(some));
    how.block = dim3(256);
    how.stream = stream;
    const kernels::Status status = kernels::launch<norms_kernel<G>>(how, part);
    if (status != kernels::Status::kOk) return status;
  }
  return kernels::Status::kOk;
}

inline constexpr int64_t aligned_floats(int64_t count) { return (count + 63) / 64 * 64; }

}  // namespace aqlm_exp::code_search::gpu
