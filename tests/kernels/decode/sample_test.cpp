#include "kernels/decode/sample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "framework/base/rng.h"

namespace aqlm_exp::decode {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<double> shares(const SampleParams& params, std::vector<float> logits,
                           const std::vector<uint8_t>& seen = {}) {
  const auto weights = sample_weights_ref(params, static_cast<int64_t>(logits.size()), logits.data(),
                                          seen.empty() ? nullptr : seen.data());
  const double total = static_cast<double>(std::accumulate(weights.begin(), weights.end(), uint64_t{0}));
  std::vector<double> out;
  for (const uint64_t weight : weights) out.push_back(static_cast<double>(weight) / total);
  return out;
}
void expect_near(const std::vector<double>& got, const std::vector<double>& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], wanted[i], 1e-6) << i;  // expf and 2^-32 steps
}
std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> out;
  for (const double p : probabilities) out.push_back(static_cast<float>(std::log(p)));
  return out;
}

TEST(Sample, TemperatureOneIsTheSoftmax) {
  expect_near(shares({.temperature = 1}, logs({0.1, 0.2, 0.3, 0.4})), {0.1, 0.2, 0.3, 0.4});
}

TEST(Sample, TemperatureIsAPowerOfProbability) {
  expect_near(shares({.temperature = 0.5F}, logs({0.1, 0.2, 0.3, 0.4})),
              {0.01 / 0.3, 0.04 / 0.3, 0.09 / 0.3, 0.16 / 0.3});
}

TEST(Sample, GreedyTakesTheLowestIdAmongEquals) {
  std::vector<float> logits = {1, 3, 2, 3};
  EXPECT_EQ(sample_ref({}, 4, logits.data(), nullptr, 0.99), 1);
}

TEST(Sample, TopKKeepsTheKLargest) {
  expect_near(shares({.temperature = 1, .top_k = 2}, logs({0.1, 0.2, 0.3, 0.4})), {0, 0, 3.0 / 7, 4.0 / 7});
  expect_near(shares({.temperature = 1, .top_k = 4}, logs({0.1, 0.2, 0.3, 0.4})), {0.1, 0.2, 0.3, 0.4});
}

TEST(Sample, TopPKeepsTheShortestListThatReachesP) {
  const auto logits = logs({0.1, 0.2, 0.3, 0.4});
  expect_near(shares({.temperature = 1, .top_p = 0.65F}, logits), {0, 0, 3.0 / 7, 4.0 / 7});
  expect_near(shares({.temperature = 1, .top_p = 0.75F}, logits), {0, 2.0 / 9, 3.0 / 9, 4.0 / 9});
  expect_near(shares({.temperature = 1, .top_p = 0.0F}, logits), {0, 0, 0, 1});
}

TEST(Sample, TopPCountsWhatTopKLeft) {
  // Of {0.3, 0.4} the larger one has 4/7 = 0.571: enough for 0.55, though not of the whole.
  expect_near(shares({.temperature = 1, .top_p = 0.55F, .top_k = 2}, logs({0.1, 0.2, 0.3, 0.4})), {0, 0, 0, 1});
}

TEST(Sample, MinPIsRelativeToTheLargest) {
  expect_near(shares({.temperature = 1, .min_p = 0.6F}, logs({0.1, 0.2, 0.3, 0.4})), {0, 0, 3.0 / 7, 4.0 / 7});
}

TEST(Sample, PenaltyPushesSeenTokensDownWhateverTheirSign) {
  std::vector<float> logits = {2, -2, 1};
  const std::vector<uint8_t> seen = {1, 1, 0};
  sample_weights_ref({.temperature = 1, .repetition_penalty = 2}, 3, logits.data(), seen.data());
  EXPECT_EQ(logits, (std::vector<float>{1, -4, 1}));
}

TEST(Sample, NucleusEdgesAgreeWithSortingEverything) {
  Rng rng(7);
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<float> logits(1000);
    for (float& x : logits) x = static_cast<float>(rng.normal()) * 3;
    const float top_p = static_cast<float>(rng.uniform());
    const std::vector<double> all = shares({.temperature = 1}, logits);
    std::vector<size_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    double sum = 0;
    size_t kept = 0;
    while (sum < static_cast<double>(top_p) && kept < order.size()) sum += all[order[kept++]];
    const std::vector<double> got = shares({.temperature = 1, .top_p = top_p}, logits);
    const auto num_kept = static_cast<size_t>(std::count_if(got.begin(), got.end(), [](double p) { return p > 0; }));
    EXPECT_EQ(num_kept, std::max<size_t>(kept, 1)) << top_p;
  }
}

TEST(Sample, DrawsFollowTheDistribution) {
  const std::vector<double> wanted = {0.02, 0.48, 0.15, 0.35};
  const auto logits = logs(wanted);
  std::vector<double> counts(4);
  constexpr int kDraws = 20000;
  Rng rng(3);
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> copy = logits;
    counts[static_cast<size_t>(sample_ref({.temperature = 1}, 4, copy.data(), nullptr, rng.uniform()))] += 1;
  }
  double chi_square = 0;
  for (size_t i = 0; i < 4; ++i) chi_square += std::pow(counts[i] - kDraws * wanted[i], 2) / (kDraws * wanted[i]);
  EXPECT_LT(chi_square, 16.27);  // 3 degrees of freedom, p = 0.001; the seed is fixed
}

TEST(Sample, EveryUniformNumberFallsOnAToken) {
  for (const double uniform : {0.0, 0.5, std::nextafter(1.0, 0.0)}) {
    std::vector<float> logits = {0, 0, -INFINITY};
    const int64_t token = sample_ref({.temperature = 1}, 3, logits.data(), nullptr, uniform);
    EXPECT_EQ(token, uniform < 0.5 ? 0 : 1);
  }
}

TEST(Sample, AnswersMinusOneWhereThereIsNoNumber) {
  std::vector<float> none = {kNaN, kNaN}, beyond = {1, INFINITY}, some = {kNaN, 1};
  EXPECT_EQ(sample_ref({.temperature = 1}, 2, none.data(), nullptr, 0), -1);
  EXPECT_EQ(sample_ref({}, 2, beyond.data(), nullptr, 0), -1);
  EXPECT_EQ(sample_ref({.temperature = 1, .top_k = 2}, 2, some.data(), nullptr, 0), 1);
}

TEST(Sample, VeryLowTemperatureIsGreedy) {
  std::vector<float> logits = {1, 1.001F, 0};
  EXPECT_EQ(sample_ref({.temperature = 1e-6F}, 3, logits.data(), nullptr, 0.0), 1);
}

}  // namespace
}  // namespace aqlm_exp::decode
