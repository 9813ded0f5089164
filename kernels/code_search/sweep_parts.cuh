// What a sweep works on: its parameters, its shared memory, and the tables of pairs, which a kernel of their own makes.
#pragma once

#include "kernels/code_search/code_search_cuda.cuh"

namespace aqlm_exp::code_search::sweep {

using gpu::kInfinity;
using gpu::kThreads;
using gpu::kWarps;

constexpr int kColumns = 128;            // inputs that are corrected eagerly
constexpr int kPairs = 256;              // first codewords of a table row, padded
constexpr int kChunk = 32, kStages = 3;  // second codewords of a stage
constexpr int kErrorChunk = 64;          // errors staged at a time

enum class Search { kBook, kPairs, kEachBook, kStages };
constexpr int kCandidates = 32;  // partial sums of kStages: a lane each

struct Params {
  const float *target, *feedback, *metric, *scales, *books;
  const int32_t *order, *book_order;
  int32_t* codes;
  float* loss;
  float* errors;        // [rows][inputs] visiting order
  const float* norms;   // [segment groups][books][codewords]
  const float* tables;  // [segment groups][second, padded to 32][256]
  int64_t rows, inputs, groups;
  int64_t first_group, last_group;   // of this launch: whole column blocks
  int num_books, codewords, chunks;  // chunks of a table
  int candidates;                    // of kStages
  bool descent, first_launch;
};

__device__ __forceinline__ void copy_async16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(kernels::shared_address(to)), "l"(from) : "memory");
}
__device__ __forceinline__ void commit_async() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
__device__ __forceinline__ void wait_async() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Partial sums of one row, two sets in turn.
template <int G>
struct Partials {
  float score[2][kCandidates];
  float minus2u[2][kCandidates][G];
  uint16_t codes[2][kCandidates][kMaxBooks];
};

template <int G, int R, Search S>
struct Shared {
  static constexpr int kPitch =
      R + 4;  // floats between codewords: 16-byte stores of a quarter warp meet all banks once
  static constexpr int kReduce = (kWarps / (R / 8)) * R * kColumns + kErrorChunk * kPitch;
  static constexpr int kLines = S == Search::kPairs ? R * kPairs + kPairs * kPitch : 0;
  gpu::Found<R> found;
  float target[R][kColumns];
  float given[R][kColumns];  // the block of p.target, nothing added
  float minus2u[R][G];
  float error[R][G];
  float moved[R][G];
  float feedback[G][kColumns];  // this group's rows, the rest of the block
  float metric[2][G * G];
  float scale[R], inverse[R], shift[R];
  float longest, unused[3];  // of the second book's words
  Partials<G> partials[S == Search::kStages ? R : 1];
  union {
    float reduce[kReduce];
    float lines[kLines > 0 ? kLines : 1];  // first [R][256], second [256][kPitch]
  };
  float table[S == Search::kPairs ? kStages : 1][S == Search::kPairs ? kChunk * kPairs : 4];
};

struct TableParams {
  const float *books, *metric, *norms;  // metric and norms of the first group
  float* tables;
  int codewords, chunks;
};

/// tables[group][b][a] = |c0_a + c1_b|^2 in the group's metric, +infinity where a or b is past its book. Grid (chunks,
/// groups), a thread an a.
template <int G>
__global__ void __launch_bounds__(kPairs) table_kernel(const __grid_constant__ TableParams p) {
  __shared__ float image[kChunk][G];
  const float* metric = p.metric + int64_t{blockIdx.y} * G * G;
  const int b0 = static_cast<int>(blockIdx.x) * kChunk, a = static_cast<int>(threadIdx.x);
  for (int i = a; i < kChunk * G; i += kPairs) {
    const int b = b0 + i / G, d = i % G;
    float sum = 0;
    if (b < p.codewords)
      for (int e = 0; e < G; ++e)
        sum = fmaf(__ldg(metric + d * G + e), __ldg(p.books + (int64_t{p.codewords} + b) * G + e), sum);
    image[i / G][d] = 2 * sum;
  }
  __syncthreads();
  float word[G] = {};
  if (a < p.codewords)
    for (int d = 0; d < G; ++d) word[d] = __ldg(p.books + int64_t{a} * G + d);
  const float* norms = p.norms + int64_t{blockIdx.y} * 2 * p.codewords;
  const float norm = a < p.codewords ? __ldg(norms + a) : 0;
  float* out = p.tables + (int64_t{blockIdx.y} * p.chunks + blockIdx.x) * (kChunk * kPairs) + a;
  for (int b = 0; b < kChunk; ++b) {
    float sum = 0;
#pragma unroll
    for (int d = 0; d < G; ++d) sum = fmaf(image[b][d], word[d], sum);
    const bool inside = a < p.codewords && b0 + b < p.codewords;
    out[b * kPairs] = inside ? fmaxf((norm + __ldg(norms + p.codewords + b0 + b)) + sum, 0.0F) : kInfinity;
  }
}

}  // namespace aqlm_exp::code_search::sweep
