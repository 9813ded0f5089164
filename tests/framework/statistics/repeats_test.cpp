#include "framework/statistics/repeats.h"

#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.h"
#include "framework/base/rng.h"

namespace aqlm_exp::statistics {
namespace {

/// `num_runs` seeds on one text: the blocks' losses are shared, each seed shifts all of them.
std::vector<std::vector<Block>> runs(Rng& rng, const std::vector<double>& hardness, int64_t num_runs, double level,
                                     double seed_spread) {
  std::vector<std::vector<Block>> out;
  for (int64_t r = 0; r < num_runs; ++r) {
    const double shift = level + seed_spread * rng.normal();
    std::vector<Block> blocks;
    for (const double h : hardness) blocks.push_back({10 * (h + shift + 0.02 * rng.normal()), 10});
    out.push_back(blocks);
  }
  return out;
}

TEST(Repeats, IntervalCoversTheTruthWhenSeedsVary) {
  Rng rng(1);
  int covered = 0, covered_without_seeds = 0;
  for (int trial = 0; trial < 1000; ++trial) {
    std::vector<double> hardness;
    for (int i = 0; i < 30; ++i) hardness.push_back(2 + rng.normal());
    const auto a = runs(rng, hardness, 4, 0.1, 0.05), b = runs(rng, hardness, 4, 0.0, 0.05);
    const RepeatComparison result = compare_runs(a, b);
    EXPECT_FALSE(result.ignores_seeds);
    covered += result.ci_low <= 0.1 && 0.1 <= result.ci_high ? 1 : 0;
    const Comparison single = compare_paired(a.front(), b.front(), {.resamples = 200});
    covered_without_seeds += single.ci_low <= 0.1 && 0.1 <= single.ci_high ? 1 : 0;
  }
  EXPECT_GE(covered, 930);
  EXPECT_LE(covered, 980);                // Welch and Satterthwaite's rule errs on this side with few runs
  EXPECT_LT(covered_without_seeds, 500);  // one seed each says nothing of the methods
}

TEST(Repeats, SummaryIsMeanAndSpreadOfRuns) {
  const std::vector<std::vector<Block>> three = {{{10, 10}, {30, 10}}, {{20, 10}, {40, 10}}, {{30, 10}, {50, 10}}};
  const RepeatSummary summary = summarise_runs(three);
  EXPECT_EQ(summary.num_runs, 3);
  EXPECT_NEAR(summary.mean, 3, 1e-15);
  EXPECT_NEAR(summary.standard_deviation, 1, 1e-15);
  EXPECT_EQ(summary.min, 2);
  EXPECT_EQ(summary.max, 4);
  EXPECT_TRUE(std::isnan(summarise_runs({three.data(), 1}).standard_deviation));
}

TEST(Repeats, OneRunEachSaysThatSeedsWereIgnored) {
  const std::vector<std::vector<Block>> a = {{{10, 10}, {31, 10}, {22, 10}}}, b = {{{9, 10}, {29, 10}, {22, 10}}};
  const RepeatComparison result = compare_runs(a, b);
  EXPECT_TRUE(result.ignores_seeds);
  EXPECT_NEAR(result.difference, 0.1, 1e-12);
  EXPECT_NEAR(result.standard_error, compare_paired(a.front(), b.front()).standard_error, 1e-12);
  EXPECT_EQ(result.degrees_of_freedom, 2);
}

TEST(Repeats, RefusesRunsOfDifferentTexts) {
  const std::vector<std::vector<Block>> a = {{{10, 10}, {31, 10}}, {{10, 10}}}, b = {{{9, 10}, {29, 11}}},
                                        c = {{{10, 10}, {31, 10}}};
  EXPECT_THROW(compare_runs(a, c), DataError);
  EXPECT_THROW(compare_runs(c, b), DataError);
  EXPECT_THROW(compare_runs(c, {}), DataError);
  EXPECT_THROW(summarise_runs({}), DataError);
}

}  // namespace
}  // namespace aqlm_exp::statistics
