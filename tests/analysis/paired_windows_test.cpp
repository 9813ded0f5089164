#include "analysis/paired_windows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "framework/base/rng.h"

namespace aqlm_exp::analysis {
namespace {

using statistics::Block;

std::vector<Block> blocks_of(const std::vector<double>& means) {
  std::vector<Block> blocks;
  for (double mean : means) blocks.push_back({.sum = mean * 100, .count = 100});
  return blocks;
}

/// Windows that differ much from one another, and two models that differ by 0.1 on each.
std::pair<std::vector<double>, std::vector<double>> hard_windows(uint64_t seed) {
  Rng rng(seed);
  std::vector<double> a, b;
  for (int i = 0; i < 12; ++i) {
    const double hard = 5 * rng.normal();
    a.push_back(hard + 0.01 * rng.normal());
    b.push_back(hard + 0.1 + 0.01 * rng.normal());
  }
  return {a, b};
}

TEST(PairedDifference, FindsWhatUnpairedIntervalsHide) {
  const auto [a, b] = hard_windows(2);
  const std::vector<std::vector<Block>> runs_a = {blocks_of(a)}, runs_b = {blocks_of(b)};
  for (const double confidence : {0.95, 0.99999}) {
    const auto difference = paired_difference(runs_a, runs_b, confidence);
    ASSERT_TRUE(difference);
    EXPECT_EQ(difference->method, confidence < 0.99 ? "paired block bootstrap" : "paired Student");
    EXPECT_TRUE(difference->excludes_zero());
    EXPECT_NEAR(difference->mean, 0.1, 0.02);
    EXPECT_EQ(difference->num_blocks, 12);
  }
  EXPECT_LT(mean_interval(b)->low, mean_interval(a)->high) << "the intervals of both overlap";
}

TEST(PairedDifference, SignIsSecondMinusFirst) {
  const auto [a, b] = hard_windows(3);
  const std::vector<std::vector<Block>> runs_a = {blocks_of(a)}, runs_b = {blocks_of(b)};
  EXPECT_GT(paired_difference(runs_a, runs_b, 0.95)->mean, 0);
  EXPECT_LT(paired_difference(runs_b, runs_a, 0.95)->mean, 0);
}

TEST(PairedDifference, SeedsAddTheirSpread) {
  const auto [a, b] = hard_windows(4);
  std::vector<double> a_other = a, b_other = b;
  for (double& value : a_other) value += 1;  // another seed, far away
  for (double& value : b_other) value -= 1;
  const std::vector<std::vector<Block>> one_a = {blocks_of(a)}, one_b = {blocks_of(b)};
  const std::vector<std::vector<Block>> runs_a = {blocks_of(a), blocks_of(a_other)};
  const std::vector<std::vector<Block>> runs_b = {blocks_of(b), blocks_of(b_other)};
  EXPECT_TRUE(paired_difference(one_a, one_b, 0.95)->excludes_zero());
  EXPECT_FALSE(paired_difference(runs_a, runs_b, 0.95)->excludes_zero());
  EXPECT_EQ(paired_difference(runs_a, runs_b, 0.95)->method, "Welch, with seeds");
}

TEST(PairedDifference, NothingForWhatCannotBePaired) {
  const std::vector<std::vector<Block>> two = {blocks_of({1, 2})}, three = {blocks_of({1, 2, 3})},
                                        one = {blocks_of({1})};
  std::vector<std::vector<Block>> longer = two;
  longer[0][1].count = 7;
  EXPECT_FALSE(paired_difference(two, three, 0.95));
  EXPECT_FALSE(paired_difference(one, one, 0.95));
  EXPECT_FALSE(paired_difference(two, longer, 0.95));
  EXPECT_FALSE(paired_difference({}, two, 0.95));
}

TEST(PairedDifference, EqualValuesAreATie) {
  const std::vector<std::vector<Block>> runs = {blocks_of({1, 2, 3})};
  const auto difference = paired_difference(runs, runs, 0.95);
  ASSERT_TRUE(difference);
  EXPECT_FALSE(difference->excludes_zero());
}

TEST(WindowBlocks, CountTokensAndJoinDocuments) {
  results::TrialRecord record;
  record.samples = {{.name = "window_loss", .values = {1, 2, 3}}};
  auto blocks = window_blocks(record, "ppl");
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(blocks[1].count, 1);
  EXPECT_EQ(blocks[1].sum, 2);
  record.samples.push_back({.name = "window_tokens", .values = {10, 20, 30}});
  record.samples.push_back({.name = "window_document", .values = {0, 1, 1}});
  blocks = window_blocks(record, "ppl");
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[1].count, 50);
  EXPECT_EQ(blocks[1].sum, 2 * 20 + 3 * 30);
  EXPECT_TRUE(window_blocks(record, "kl").empty());
  record.samples[0].values[1] = std::nan("");
  EXPECT_TRUE(window_blocks(record, "ppl").empty());
}

TEST(Median, OfOddEvenAndNan) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_TRUE(std::isnan(median({})));
  EXPECT_TRUE(std::isnan(median({1, std::numeric_limits<double>::quiet_NaN()})));
}

}  // namespace
}  // namespace aqlm_exp::analysis
