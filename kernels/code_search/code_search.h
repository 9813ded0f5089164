// Finding codes: the nearest codeword of many queries, and one sweep over the groups of a layer that chooses a code for
// each. Shapes and calls, shared by the reference, the CPU and the CUDA entries; no torch, no CUDA header.
// Source of the forms: AQLM, arXiv:2401.06118 eq. 7; block error feedback as in GPTQ/LDLQ (arXiv:2210.17323,
// 2307.13304, 2507.18553), here over groups of columns with a joint search over the codebooks.
//
// Legend: O rows, I inputs, g group size, G = I / g groups, M codebooks, K = 2^nbits codewords, s[o] row scale.
#pragma once

#include <cstdint>

namespace aqlm_exp::code_search {

/// Queries against one book: `batches` sets of `rows` queries, a bias per set and codeword.
struct NearestShape {
  int64_t batches = 1, rows = 0;
  int64_t codewords = 0;  // 1..65536, any number
  int32_t group_size = 8;
};

/// index[b, r] = argmin_k bias[b, k] - 2 <queries[b, r], book[k]>, the lowest k on ties; score is that minimum.
/// Everything float32, row-major, contiguous. A query with NaN gets index 0 and score +infinity.
struct NearestCall {
  const float* queries = nullptr;  // [batches, rows, g]
  const float* book = nullptr;     // [codewords, g]
  const float* bias = nullptr;     // [batches, codewords]; or null and instead
  const float* metric =
      nullptr;  // [batches, g, g] symmetric: bias[b, k] = book[k] metric[b] book[k]^T; both null: |book[k]|^2
  int32_t* index = nullptr;  // out [batches, rows]
  float* score = nullptr;    // out [batches, rows] or null
};

/// sums[k] = sum over b, r with index[b, r] = k of weight[r] values[b, r]; counts[k, b] = sum over r of weight[r]
/// alone: what an update of k-means needs. Added up in 64-bit fixed point whose step comes from the largest term, so
/// the result depends on no order: the CPU's and the GPU's are equal bit for bit, and exact to 2^-60 of terms x largest
/// term.
struct AccumulateCall {
  const int32_t* index = nullptr;  // [batches, rows], 0..codewords-1
  const float* values = nullptr;   // [batches, rows, g], finite
  const float* weights = nullptr;  // [rows], finite; null: 1
  float* sums = nullptr;           // out [codewords, g]
  float* counts = nullptr;         // out [codewords, batches]
};

/// One linear: codes of out_group_size 1.
struct SweepShape {
  int64_t rows = 0, groups = 0;
  int32_t group_size = 8, num_codebooks = 1, nbits = 8;

  int64_t in_features() const noexcept { return groups * group_size; }
  int64_t codewords() const noexcept { return int64_t{1} << nbits; }
};

enum class SweepKind : int32_t {
  /// Block error feedback (LDLQ). H = V blockdiag(M) V^T with V unit block upper triangular. For each group in turn
  ///   t = target_j + sum_{i before j} e_i V_ij;  q = argmin (t - s q) M_j (t - s q)^T;  e_j = target_j - s q
  /// The old codes are not read. Exact identity: (w - s q) H (w - s q)^T = sum_j (t_j - s q_j) M_j (t_j - s q_j)^T.
  kErrorFeedback,
  /// Coordinate descent over groups (ICM). target = P = (W - What) H for the codes given. For each group in turn
  ///   p = target_j + sum_{i before j} d_i H_ij;  u = p / s + old H_jj;  q = argmin q H_jj q^T - 2 <u, q>;  d_j = s
  ///   (old - q)
  /// A code is replaced only by one of lower score: a sweep never raises the loss by more than rounding.
  kCoordinateDescent,
};

enum class SweepSearch : int32_t {
  /// The best of all K^M sums of codewords: M = 1, or M = 2 with nbits <= 8.
  kExact,
  /// Book by book: the `candidates` best partial sums are carried on (1: greedy). Any M. With M = 2: the `candidates`
  /// best first codewords, all second ones for each. Carried sums are ordered by their codes, so ties go to the lowest.
  /// In coordinate descent the old code is always a candidate.
  kStages,
  /// One codebook after the other with the others fixed (coordinate descent only), in the order of `book_order`.
  kOneBook,
};

/// All float32 or int32, row-major, contiguous. "Visiting order": position 0 is the group visited first.
/// Ties go to the lowest index (pairs: lowest a, then b); in coordinate descent the old code wins a tie.
/// A row whose scale is 0 searches for the target 0. NaN in a row stays in that row.
struct SweepCall {
  SweepKind kind = SweepKind::kErrorFeedback;
  SweepSearch search = SweepSearch::kExact;
  int32_t candidates = 16;              // of kStages, 1..64
  const float* target = nullptr;        // [rows, I] natural order of groups: the weight, or P
  const float* feedback = nullptr;      // [I, I] visiting order: V, or H; only blocks above the diagonal are read
  const float* metric = nullptr;        // [G, g, g] visiting order, symmetric: M_j, or H_jj
  const int32_t* order = nullptr;       // [G] order[p] = natural group visited at position p; null: 0, 1, 2, ...
  const float* scales = nullptr;        // [rows]; may be negative
  const float* codebooks = nullptr;     // [M, K, g]
  const int32_t* book_order = nullptr;  // [G, M] visiting order, for kOneBook; null: 0, 1, 2, ...
  int32_t* codes = nullptr;             // [rows, G, M] natural order; out, and in for coordinate descent
  float* loss = nullptr;                // out [rows] or null: the loss of the row, or (coordinate descent) its change
};

constexpr int32_t kMaxGroupSize = 64;
constexpr int32_t kMaxCandidates = 64;
constexpr int32_t kMaxBooks = 16;

}  // namespace aqlm_exp::code_search
