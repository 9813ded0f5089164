#include "framework/encoder/group_search.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "framework/base/error.h"

namespace aqlm_exp::encoder {
namespace {

constexpr int64_t kMostJointSums = int64_t{1} << 16;

}  // namespace

SearchOptions read_search(config::Reader& in) {
  SearchOptions options;
  const std::string kind = in.text(
      "search", {.fallback = "auto",
                 .choices = {"auto", "joint", "k_best", "greedy"},
                 .doc = "codes of a group: joint tries every sum of codewords; k_best and greedy go book by "
                        "book, keeping `candidates` or one; auto: joint up to 65536 sums, else k_best"});
  options.kind = kind == "joint"    ? SearchKind::kJoint
                 : kind == "k_best" ? SearchKind::kBest
                 : kind == "greedy" ? SearchKind::kGreedy
                                    : SearchKind::kAuto;
  options.candidates = in.integer(
      "candidates", {.fallback = 16, .min = 1, .max = 65536, .doc = "partial sums that k_best keeps between books"});
  return options;
}

SearchKind search_kind(const SearchOptions& options, const quant::CodeSpec& spec) {
  const bool joint_fits = spec.num_codebooks == 1 || (spec.num_codebooks == 2 && spec.nbits_per_codebook <= 8);
  if (options.kind == SearchKind::kAuto) return joint_fits ? SearchKind::kJoint : SearchKind::kBest;
  if (options.kind == SearchKind::kJoint && !joint_fits) {
    throw ConfigError(fmt::format(
        "encoder.search: joint over {} would try 2^{} sums a group, need at most 65536 (one codebook, or two of up to "
        "8 bits); try search: k_best",
        spec.str(), spec.num_codebooks * spec.nbits_per_codebook));
  }
  return options.kind;
}

GroupSearch::GroupSearch(const at::Tensor& codebooks, const quant::CodeSpec& spec, const SearchOptions& options)
    : kind_(search_kind(options, spec)),
      candidates_(kind_ == SearchKind::kGreedy ? 1 : options.candidates),
      out_group_size_(spec.out_group_size),
      in_group_size_(spec.in_group_size) {
  for (int64_t m = 0; m < spec.num_codebooks; ++m) books_.push_back(codebooks[m].flatten(1).contiguous());
}

at::Tensor GroupSearch::times_metric(const at::Tensor& words) const {
  if (out_group_size_ == 1) return at::matmul(words, metric_);
  std::vector<int64_t> split = words.sizes().vec();
  split.back() = out_group_size_;
  split.push_back(in_group_size_);
  return at::matmul(words.reshape(split), metric_).flatten(-2);
}

void GroupSearch::set_metric(const at::Tensor& metric) {
  metric_ = metric;
  energies_.clear();
  for (const at::Tensor& book : books_) energies_.push_back((times_metric(book) * book).sum(1));
  if (kind_ == SearchKind::kJoint && books_.size() == 2) {
    cross_ = at::matmul(times_metric(books_[0]), books_[1].t()).mul_(2.0);
  }
}

at::Tensor GroupSearch::words(const at::Tensor& codes) const {
  at::Tensor sum;
  for (size_t m = 0; m < books_.size(); ++m) {
    const at::Tensor picked = codes.select(-1, static_cast<int64_t>(m));
    std::vector<int64_t> shape = picked.sizes().vec();
    shape.push_back(books_[m].size(1));
    const at::Tensor words = books_[m].index_select(0, picked.flatten()).view(shape);
    sum = sum.defined() ? sum.add_(words) : words;
  }
  return sum;
}

int64_t GroupSearch::max_count() const {
  const int64_t last = books_.back().size(0);
  if (kind_ != SearchKind::kJoint) return last;
  return books_.size() == 1 ? last : last * books_.front().size(0);
}

int64_t GroupSearch::rows_at_a_time(int64_t scores_per_row) const {
  // On the CPU a block of scores should stay in the second-level cache; a GPU wants few launches.
  const int64_t scores = books_.front().is_cpu() ? int64_t{1} << 18 : int64_t{1} << 28;
  return std::max<int64_t>(1, scores / scores_per_row);
}

GroupSearch::Found GroupSearch::best(const at::Tensor& queries, int64_t count) const {
  if (kind_ != SearchKind::kJoint) return best_book_by_book(queries, count);
  const int64_t scores_per_row = books_.size() == 1 ? books_[0].size(0) : cross_.numel();
  const int64_t step = rows_at_a_time(scores_per_row);
  std::vector<at::Tensor> codes, scores;
  for (int64_t start = 0; start < queries.size(0); start += step) {
    const at::Tensor part = queries.slice(0, start, std::min(queries.size(0), start + step));
    Found found = books_.size() == 1 ? best_of_one(part, count) : best_of_pairs(part, count);
    codes.push_back(std::move(found.codes));
    scores.push_back(std::move(found.scores));
  }
  if (codes.size() == 1) return {codes[0], scores[0]};
  return {at::cat(codes), at::cat(scores)};
}

GroupSearch::Found GroupSearch::best_in_book(int64_t book, const at::Tensor& queries) const {
  const at::Tensor& words = books_[static_cast<size_t>(book)];
  const int64_t step = rows_at_a_time(words.size(0));
  std::vector<at::Tensor> codes, scores;
  for (int64_t start = 0; start < queries.size(0); start += step) {
    const at::Tensor part = queries.slice(0, start, std::min(queries.size(0), start + step));
    auto [least, index] =
        at::addmm(energies_[static_cast<size_t>(book)], part, words.t(), 1, -2).min(1, /*keepdim=*/true);
    codes.push_back(index.unsqueeze(2));
    scores.push_back(least);
  }
  return {at::cat(codes), at::cat(scores)};
}

GroupSearch::Found GroupSearch::best_of_one(const at::Tensor& queries, int64_t count) const {
  const at::Tensor scores = at::addmm(energies_[0], queries, books_[0].t(), 1, -2);  // [N, K]
  if (count == 1) {
    auto [least, index] = scores.min(1, /*keepdim=*/true);
    return {index.unsqueeze(2), least};
  }
  auto [least, index] = scores.topk(count, 1, /*largest=*/false, /*sorted=*/true);
  return {index.unsqueeze(2), least};
}

GroupSearch::Found GroupSearch::best_of_pairs(const at::Tensor& queries, int64_t count) const {
  const at::Tensor first = at::addmm(energies_[0], queries, books_[0].t(), 1, -2);   // [N, K]
  const at::Tensor second = at::addmm(energies_[1], queries, books_[1].t(), 1, -2);  // [N, K]
  const at::Tensor inner = cross_.unsqueeze(0) + second.unsqueeze(1);                // [N, K, K]
  if (count == 1) {
    auto [least, a] = (inner.amin(2) + first).min(1);  // [N]
    const at::Tensor b = (cross_.index_select(0, a) + second).argmin(1);
    return {at::stack({a, b}, 1).unsqueeze(1), least.unsqueeze(1)};
  }
  const int64_t codebook_size = books_[1].size(0);
  auto [least, index] =
      (inner + first.unsqueeze(2)).flatten(1).topk(count, 1, /*largest=*/false, /*sorted=*/true);  // [N, count]
  return {at::stack({index.div(codebook_size, "floor"), index.remainder(codebook_size)}, 2), least};
}

GroupSearch::Found GroupSearch::best_book_by_book(const at::Tensor& queries, int64_t count) const {
  const int64_t num_queries = queries.size(0), last = static_cast<int64_t>(books_.size()) - 1;
  at::Tensor sums = at::zeros({num_queries, 1, queries.size(1)}, queries.options());  // [N, B, g]
  at::Tensor scores = at::zeros({num_queries, 1}, queries.options());                 // [N, B]
  at::Tensor codes = at::empty({num_queries, 1, 0}, queries.options().dtype(at::kLong));
  for (int64_t m = 0; m <= last; ++m) {
    const at::Tensor& book = books_[static_cast<size_t>(m)];
    const int64_t codebook_size = book.size(0), held = scores.size(1);
    // (p + c) M (p + c)ᵀ − 2 u·(p + c) = score(p) + c M cᵀ − 2 (u − p M)·c
    const at::Tensor rest = queries.unsqueeze(1) - times_metric(sums);  // [N, B, g]
    at::Tensor totals = at::matmul(rest, book.t()).mul_(-2).add_(energies_[static_cast<size_t>(m)]);
    totals = totals.add_(scores.unsqueeze(2)).flatten(1);  // [N, B * K]
    const int64_t kept = std::min(m == last ? count : candidates_, held * codebook_size);
    at::Tensor index;
    if (kept == 1) {
      std::tie(scores, index) = totals.min(1, /*keepdim=*/true);
    } else {
      std::tie(scores, index) = totals.topk(kept, 1, /*largest=*/false, /*sorted=*/true);
    }
    const at::Tensor source = index.div(codebook_size, "floor"), code = index.remainder(codebook_size);  // [N, kept]
    codes = at::cat({codes.gather(1, source.unsqueeze(2).expand({-1, -1, m})), code.unsqueeze(2)}, 2);
    sums = sums.gather(1, source.unsqueeze(2).expand({-1, -1, sums.size(2)})) +
           book.index_select(0, code.flatten()).view({num_queries, kept, sums.size(2)});
  }
  return {codes, scores};
}

}  // namespace aqlm_exp::encoder
