#include "analysis/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "framework/base/rng.h"

namespace aqlm_exp::analysis {
namespace {

TEST(StudentT, QuantilesMatchPublishedTables) {
  // Values of R's qt(1 - (1 - confidence) / 2, df).
  EXPECT_NEAR(student_t_quantile(0.95, 1), 12.706204736432095, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.95, 11), 2.2009851600916384, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.99, 4), 4.6040948713499925, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.9875, 11), 2.9808724300526674, 1e-10);
  EXPECT_NEAR(student_t_quantile(0.95, 1e6), 1.959966, 1e-5);
}

TEST(StudentT, PValueIsTheInverseOfTheQuantile) {
  for (const double degrees : {1.0, 2.0, 7.0, 31.0, 1000.0}) {
    for (const double confidence : {0.5, 0.9, 0.95, 0.999}) {
      EXPECT_NEAR(student_t_p_value(student_t_quantile(confidence, degrees), degrees), 1 - confidence, 1e-9);
    }
  }
  EXPECT_NEAR(student_t_p_value(0, 5), 1, 1e-12);
}

TEST(MeanInterval, CoversTheTrueMeanAsOftenAsItSays) {
  Rng rng(1);
  int covered = 0;
  constexpr int kTrials = 2000;
  for (int i = 0; i < kTrials; ++i) {
    std::vector<double> values(12);
    for (double& value : values) value = 3 + rng.normal();
    const auto interval = mean_interval(values);
    covered += interval->low <= 3 && 3 <= interval->high ? 1 : 0;
  }
  // Binomial standard deviation is 0.5 % of 2000 trials; five of them.
  EXPECT_NEAR(static_cast<double>(covered) / kTrials, 0.95, 5 * std::sqrt(0.95 * 0.05 / kTrials));
}

TEST(PairedDifference, FindsWhatUnpairedIntervalsHide) {
  Rng rng(2);
  std::vector<double> a, b;
  for (int i = 0; i < 12; ++i) {
    const double hard = 5 * rng.normal();
    a.push_back(hard + 0.01 * rng.normal());
    b.push_back(hard + 0.1 + 0.01 * rng.normal());
  }
  const auto difference = paired_difference(a, b);
  ASSERT_TRUE(difference);
  EXPECT_TRUE(difference->excludes_zero());
  EXPECT_NEAR(difference->mean, 0.1, 0.02);
  EXPECT_LT(difference->p_value, 1e-6);
  EXPECT_GT(mean_interval(b)->low - mean_interval(a)->high, -20.0);
  EXPECT_LT(mean_interval(b)->low, mean_interval(a)->high) << "the intervals of both overlap";
}

TEST(PairedDifference, NothingForWhatCannotBePaired) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(paired_difference({1, 2}, {1, 2, 3}));
  EXPECT_FALSE(paired_difference({1}, {2}));
  EXPECT_FALSE(paired_difference({}, {}));
  EXPECT_FALSE(paired_difference({1, nan}, {1, 2}));
}

TEST(PairedDifference, EqualValuesAreATie) {
  const auto difference = paired_difference({1, 2, 3}, {1, 2, 3});
  ASSERT_TRUE(difference);
  EXPECT_FALSE(difference->excludes_zero());
  EXPECT_EQ(difference->p_value, 1);
}

TEST(Median, OfOddEvenAndNan) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_TRUE(std::isnan(median({})));
  EXPECT_TRUE(std::isnan(median({1, std::numeric_limits<double>::quiet_NaN()})));
}

}  // namespace
}  // namespace aqlm_exp::analysis
