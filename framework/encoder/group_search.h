// The search inside one group that error feedback and coordinate descent share: which sum of codewords, one from each
// codebook, lies nearest to a target in a quadratic metric.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "framework/config/reader.h"
#include "framework/quant/code_spec.h"

namespace aqlm_exp::encoder {

enum class SearchKind {
  kAuto,    ///< joint where that is at most 65536 sums, else k_best
  kJoint,   ///< every sum of codewords: exact
  kBest,    ///< book after book, keeping the best partial sums
  kGreedy,  ///< book after book, keeping one
};

struct SearchOptions {
  SearchKind kind = SearchKind::kAuto;
  int64_t candidates = 16;  ///< partial sums kept by kBest
};

/// Reads the keys `search` and `candidates`.
SearchOptions read_search(config::Reader& in);

/// kAuto made definite. @throws ConfigError if a joint search over `spec` would need more than 65536 sums
SearchKind search_kind(const SearchOptions& options, const quant::CodeSpec& spec);

/// score(q) = q M qᵀ − 2 u·q for sums q of codewords; with og > 1, M applies to each of the og rows of a codeword.
/// Ties: the lowest index, first of book 0, then of book 1, ...
class GroupSearch {
 public:
  /// @param codebooks [M, K, og, ig] float32
  GroupSearch(const at::Tensor& codebooks, const quant::CodeSpec& spec, const SearchOptions& options);

  /// @param metric [ig, ig] float32, symmetric
  void set_metric(const at::Tensor& metric);

  struct Found {
    at::Tensor codes;   ///< [N, count, M] int64
    at::Tensor scores;  ///< [N, count] float32, rising
  };
  /// The best `count` sums for each query. Memory: at most about 1 GiB of scores at a time on a GPU, a few MiB on CPU.
  /// @param queries [N, og * ig] float32
  Found best(const at::Tensor& queries, int64_t count) const;
  /// The best codeword of book `book` alone.
  Found best_in_book(int64_t book, const at::Tensor& queries) const;

  /// Sums of codewords. @param codes [..., M] int64 → [..., og * ig]
  at::Tensor words(const at::Tensor& codes) const;
  /// @param words [..., og * ig] → the same times M, row by row
  at::Tensor times_metric(const at::Tensor& words) const;
  /// Most sums that best() can return.
  int64_t max_count() const;
  const at::Tensor& book(int64_t index) const { return books_[static_cast<size_t>(index)]; }

 private:
  Found best_of_one(const at::Tensor& queries, int64_t count) const;
  Found best_of_pairs(const at::Tensor& queries, int64_t count) const;
  Found best_book_by_book(const at::Tensor& queries, int64_t count) const;
  int64_t rows_at_a_time(int64_t scores_per_row) const;

  SearchKind kind_;
  int64_t candidates_, out_group_size_, in_group_size_;
  std::vector<at::Tensor> books_;     // each [K, og * ig]
  std::vector<at::Tensor> energies_;  // each [K]: c M cᵀ
  at::Tensor metric_;                 // [ig, ig]
  at::Tensor cross_;                  // [K, K]: 2 c0 M c1ᵀ, joint search of two books
};

}  // namespace aqlm_exp::encoder
