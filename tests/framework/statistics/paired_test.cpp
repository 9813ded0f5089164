#include "framework/statistics/paired.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.h"
#include "framework/base/rng.h"
#include "framework/statistics/summary.h"

namespace aqlm_exp::statistics {
namespace {

using testing::HasSubstr;

struct Pair {
  std::vector<Block> a, b;
  std::vector<double> differences;  // token by token
};

/// Losses of two models on a text: blocks of different lengths whose tokens share what is hard about them, and skewed
/// differences whose spread grows with the loss, as quantisation's are. The mean difference a token is `truth`.
Pair simulate(Rng& rng, int64_t num_blocks, double truth) {
  Pair pair;
  for (int64_t i = 0; i < num_blocks; ++i) {
    const auto count = static_cast<int64_t>(20 + rng.below(41));
    const double hardness = -std::log(1 - rng.uniform());  // exponential, mean 1
    const double shift = 0.05 * (hardness - 1);            // of this block's differences: mean 0, skewed
    Block a{0, count}, b{0, count};
    for (int64_t t = 0; t < count; ++t) {
      const double loss = 3 * hardness + std::abs(rng.normal());
      const double difference = truth + shift + 0.1 * (-std::log(1 - rng.uniform()) - 1);
      a.sum += loss + difference;
      b.sum += loss;
      pair.differences.push_back(difference);
    }
    pair.a.push_back(a);
    pair.b.push_back(b);
  }
  return pair;
}

TEST(PairedBootstrap, IntervalCoversTheTruthIn95PercentOfComparisons) {
  for (const int64_t num_blocks : {25, 100}) {
    Rng rng(static_cast<uint64_t>(num_blocks));
    int covered = 0, covered_by_tokens = 0, false_alarms = 0;
    for (uint64_t trial = 0; trial < 1000; ++trial) {
      const double truth = trial % 2 == 0 ? 0.0 : 0.02;
      const Pair pair = simulate(rng, num_blocks, truth);
      const Comparison result = compare_paired(pair.a, pair.b, {.resamples = 1000, .seed = trial});
      covered += result.ci_low <= truth && truth <= result.ci_high ? 1 : 0;
      false_alarms += truth == 0 && result.p_value < 0.05 ? 1 : 0;
      // What taking tokens for independent evidence would claim.
      const double centre = mean(pair.differences), reach = 1.96 * standard_error(pair.differences);
      covered_by_tokens += std::abs(centre - truth) <= reach ? 1 : 0;
    }
    EXPECT_GE(covered, 930) << num_blocks << " blocks";
    EXPECT_LE(covered, 970) << num_blocks << " blocks";
    EXPECT_LT(covered_by_tokens, 700);  // blocks are what makes it honest
    EXPECT_LE(false_alarms, 45);        // of 500: binomial(500, 0.05) exceeds 45 once in 10^4
    RecordProperty("covered_" + std::to_string(num_blocks), covered);
  }
}

TEST(PairedBootstrap, PointEstimateIsTheMeanPerToken) {
  const std::vector<Block> a = {{10, 4}, {30, 6}, {5, 10}}, b = {{8, 4}, {33, 6}, {1, 10}};
  const Comparison result = compare_paired(a, b);
  EXPECT_NEAR(result.difference, (2.0 - 3.0 + 4.0) / 20, 1e-15);
  EXPECT_EQ(result.num_blocks, 3);
  EXPECT_EQ(result.num_tokens, 20);
}

TEST(PairedBootstrap, StandardErrorIsTheTextbookOneForEqualBlocks) {
  std::vector<double> x, y, differences;
  Rng rng(4);
  for (int i = 0; i < 40; ++i) {
    x.push_back(rng.normal());
    y.push_back(0.5 * x.back() + 0.1 * rng.normal());
    differences.push_back(x.back() - y.back());
  }
  const Comparison result = compare_paired(make_blocks(x), make_blocks(y));
  EXPECT_NEAR(result.standard_error, standard_error(differences), 1e-12);
  // With 40 blocks of near normal differences the interval is close to Student's.
  const double reach = student_t_quantile(0.975, 39) * result.standard_error;
  EXPECT_NEAR(result.ci_low, result.difference - reach, 0.15 * reach);
  EXPECT_NEAR(result.ci_high, result.difference + reach, 0.15 * reach);
}

TEST(PairedBootstrap, PValueAndIntervalAgree) {
  Rng rng(11);
  for (int i = 0; i < 200; ++i) {
    const Pair pair = simulate(rng, 30, 0.01);
    const Comparison result = compare_paired(pair.a, pair.b, {.resamples = 999});
    EXPECT_EQ(result.is_tie(), result.p_value > 0.05)
        << result.p_value << " " << result.ci_low << " " << result.ci_high;
  }
}

TEST(PairedBootstrap, ReversingThePairReversesTheAnswer) {
  Rng rng(5);
  const Pair pair = simulate(rng, 30, 0.05);
  const Comparison forth = compare_paired(pair.a, pair.b), back = compare_paired(pair.b, pair.a);
  EXPECT_EQ(forth.difference, -back.difference);
  EXPECT_NEAR(forth.ci_low, -back.ci_high, 1e-3 * std::abs(forth.ci_low));
  EXPECT_NEAR(forth.p_value, back.p_value, 2e-3);
}

TEST(PairedBootstrap, SameSeedGivesTheSameNumbers) {
  Rng rng(6);
  const Pair pair = simulate(rng, 20, 0.0);
  const Comparison first = compare_paired(pair.a, pair.b, {.seed = 3}),
                   again = compare_paired(pair.a, pair.b, {.seed = 3}),
                   other = compare_paired(pair.a, pair.b, {.seed = 4});
  EXPECT_EQ(first.ci_low, again.ci_low);
  EXPECT_EQ(first.p_value, again.p_value);
  EXPECT_NE(first.ci_low, other.ci_low);
}

TEST(PairedBootstrap, EqualModelsTie) {
  const std::vector<Block> a = {{10.1, 4}, {30.7, 6}, {5.3, 10}};
  const Comparison result = compare_paired(a, a);
  EXPECT_EQ(result.difference, 0);
  EXPECT_EQ(result.p_value, 1);
  EXPECT_TRUE(result.is_tie());
}

TEST(PairedBootstrap, AConstantLeadIsNoTie) {
  const std::vector<double> a = {1.1, 2.1, 3.1, 4.1}, b = {1, 2, 3, 4};
  const Comparison result = compare_paired(make_blocks(a), make_blocks(b));
  EXPECT_FALSE(result.is_tie());
  EXPECT_NEAR(result.difference, 0.1, 1e-12);
  EXPECT_LT(result.p_value, 0.001);
}

TEST(PairedBootstrap, OneBlockDecidesNothing) {
  const std::vector<Block> a = {{10, 4}}, b = {{1, 4}};
  const Comparison result = compare_paired(a, b);
  EXPECT_TRUE(result.is_tie());
  EXPECT_TRUE(std::isinf(result.ci_high));
  EXPECT_EQ(result.p_value, 1);
}

TEST(PairedBootstrap, RefusesWhatIsNotPaired) {
  const std::vector<Block> a = {{10, 4}, {3, 2}}, b = {{1, 4}, {3, 3}}, c = {{1, 4}}, d = {{NAN, 4}, {3, 2}};
  EXPECT_THROW(compare_paired(a, b), DataError);
  EXPECT_THROW(compare_paired(a, c), DataError);
  EXPECT_THROW(compare_paired(a, d), DataError);
  EXPECT_THROW(compare_paired({}, {}), DataError);
}

TEST(Blocks, AreCutFromTokens) {
  const std::vector<double> values = {1, 2, 3, 4, 5};
  const std::vector<int64_t> sizes = {2, 3}, more = {2, 4}, fewer = {2, 2}, none = {0, 5};
  const std::vector<Block> blocks = make_blocks(values, sizes);
  EXPECT_EQ(blocks[0].sum, 3);
  EXPECT_EQ(blocks[1].sum, 12);
  EXPECT_EQ(blocks[1].count, 3);
  EXPECT_THROW(make_blocks(values, more), DataError);
  EXPECT_THROW(make_blocks(values, fewer), DataError);
  EXPECT_THROW(make_blocks(values, none), DataError);
}

TEST(Sentence, NamesTheBetterOneOrATie) {
  Comparison result{.difference = -0.021,
                    .standard_error = 0.006,
                    .ci_low = -0.034,
                    .ci_high = -0.009,
                    .p_value = 0.0004,
                    .num_blocks = 48};
  EXPECT_EQ(sentence(result, "gptq", "rtn", "nats/token"),
            "gptq better than rtn by 0.0210 ± 0.0060 nats/token (95% interval 0.0090 to 0.0340, p 0.0004, 48 blocks)");
  EXPECT_THAT(sentence(result, "gptq", "rtn", "", /*lower_is_better=*/false),
              HasSubstr("rtn better than gptq by 0.0210"));
  result.ci_high = 0.001;
  EXPECT_THAT(sentence(result, "gptq", "rtn", "nats/token"), HasSubstr("tie: gptq and rtn differ by 0.0210"));
}

}  // namespace
}  // namespace aqlm_exp::statistics
