#include "framework/encoder/group_search.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>

#include "framework/base/error.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::encoder {
namespace {

at::Tensor some_metric(int64_t size, uint64_t seed) {
  const at::Tensor a = test::gaussian({size, size}, seed);
  return at::matmul(a, a.t()) / size + 0.1 * at::eye(size);
}

/// Scores of all sums of codewords in float64: [N, K^M], codes counted up with the last book fastest.
at::Tensor all_scores(const at::Tensor& books, const at::Tensor& metric, const at::Tensor& queries) {
  const int64_t num_books = books.size(0), og = books.size(2), ig = books.size(3);
  at::Tensor sums = at::zeros({1, og, ig}, at::kDouble);
  for (int64_t m = 0; m < num_books; ++m) {
    sums = (sums.unsqueeze(1) + books[m].to(at::kDouble).unsqueeze(0)).flatten(0, 1);
  }
  const at::Tensor energy = (at::matmul(sums, metric.to(at::kDouble)) * sums).sum({1, 2});
  return energy - 2 * at::matmul(queries.to(at::kDouble), sums.flatten(1).t());
}

at::Tensor joined(const at::Tensor& codes, int64_t codebook_size) {  // [N, count, M] → [N, count]
  at::Tensor index = at::zeros_like(codes.select(2, 0));
  for (int64_t m = 0; m < codes.size(2); ++m) index = index * codebook_size + codes.select(2, m);
  return index;
}

struct Case {
  quant::CodeSpec spec;
  SearchOptions options;
  const char* name;
};

class ExactSearches : public testing::TestWithParam<Case> {};

TEST_P(ExactSearches, FindTheBestSumsOfBruteForceInOrder) {
  const auto [spec, options, name] = GetParam();
  const at::Tensor books =
      test::gaussian({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}, 5);
  const at::Tensor metric = some_metric(spec.in_group_size, 6);
  const at::Tensor queries = test::gaussian({40, spec.group_size()}, 7);
  const at::Tensor scores = all_scores(books, metric, queries);
  GroupSearch search(books, spec, options);
  search.set_metric(metric);
  for (const int64_t count : {1, 3}) {
    const GroupSearch::Found found = search.best(queries, count);
    const auto [best, index] = scores.topk(count, 1, /*largest=*/false, /*sorted=*/true);
    EXPECT_TRUE(joined(found.codes, spec.codebook_size()).equal(index)) << count;
    EXPECT_TRUE(at::allclose(found.scores.to(at::kDouble), best, 1e-4, 1e-4));
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, ExactSearches,
                         testing::Values(Case{{1, 5, 8, 1}, {}, "one_book"}, Case{{2, 3, 8, 1}, {}, "two_books"},
                                         Case{{2, 3, 4, 2}, {}, "two_rows_a_group"},
                                         // with K² partial sums kept nothing is lost
                                         Case{{3, 2, 8, 1}, {SearchKind::kBest, 16}, "three_books"},
                                         Case{{2, 3, 4, 2}, {SearchKind::kBest, 8}, "k_best_two_books"}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(GroupSearch, GreedyTakesBookAfterBook) {
  const quant::CodeSpec spec{2, 3, 4, 1};
  const at::Tensor books = test::gaussian({2, 8, 1, 4}, 1), metric = some_metric(4, 2);
  const at::Tensor queries = test::gaussian({30, 4}, 3);
  GroupSearch search(books, spec, {SearchKind::kGreedy, 16});
  search.set_metric(metric);
  const at::Tensor first = all_scores(books.slice(0, 0, 1), metric, queries).argmin(1);
  const at::Tensor all = all_scores(books, metric, queries).view({30, 8, 8});
  const at::Tensor second = all.index({at::arange(30), first}).argmin(1);
  EXPECT_TRUE(search.best(queries, 1).codes.select(1, 0).equal(at::stack({first, second}, 1)));
}

TEST(GroupSearch, MoreCandidatesNeverGiveAWorseSum) {
  const quant::CodeSpec spec{3, 3, 8, 1};
  const at::Tensor books = test::gaussian({3, 8, 1, 8}, 1), queries = test::gaussian({50, 8}, 3);
  at::Tensor last = at::full({50, 1}, 1e30);
  for (const int64_t candidates : {1, 4, 64}) {
    GroupSearch search(books, spec, {SearchKind::kBest, candidates});
    search.set_metric(some_metric(8, 2));
    const at::Tensor now = search.best(queries, 1).scores;
    EXPECT_LE(now.mean().item<double>(), last.mean().item<double>() + 1e-6) << candidates;
    last = now;
  }
}

TEST(GroupSearch, TiesGoToTheLowestIndex) {
  const at::Tensor books = at::ones({2, 4, 1, 4});  // all sums alike
  GroupSearch search(books, {2, 2, 4, 1}, {});
  search.set_metric(at::eye(4));
  EXPECT_EQ(search.best(at::ones({5, 4}), 1).codes.sum().item<int64_t>(), 0);
}

TEST(GroupSearch, RefusesAJointSearchThatIsTooLarge) {
  EXPECT_EQ(search_kind({}, {2, 8, 8, 1}), SearchKind::kJoint);
  EXPECT_EQ(search_kind({}, {1, 16, 8, 1}), SearchKind::kJoint);
  EXPECT_EQ(search_kind({}, {2, 9, 8, 1}), SearchKind::kBest);
  EXPECT_THROW(search_kind({SearchKind::kJoint, 16}, {3, 4, 8, 1}), ConfigError);
}

}  // namespace
}  // namespace aqlm_exp::encoder
