#include "framework/statistics/summary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "framework/statistics/correlation.h"

namespace aqlm_exp::statistics {
namespace {

// Golden: python3 -c 'import numpy as np; print(np.quantile([3,1,4,1,5,9,2,6], [0,.1,.25,.5,.9,.99,1]).tolist())'
TEST(Quantiles, MatchNumpy) {
  const std::vector<double> values = {3, 1, 4, 1, 5, 9, 2, 6}, q = {0, .1, .25, .5, .9, .99, 1};
  const std::vector<double> expected = {1.0, 1.0, 1.75, 3.5, 6.9, 8.79, 9.0}, found = quantiles(values, q);
  for (size_t i = 0; i < q.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-12) << q[i];
}

TEST(Quantiles, OfNothingIsNaNAndOfOneIsItself) {
  EXPECT_TRUE(std::isnan(quantile({}, 0.5)));
  const std::vector<double> one = {7};
  EXPECT_EQ(quantile(one, 0.3), 7);
  const std::vector<double> infinite = {0, std::numeric_limits<double>::infinity()};
  EXPECT_EQ(quantile(infinite, 0), 0);
}

TEST(Moments, MatchTheirDefinitions) {
  const std::vector<double> values = {2, 4, 4, 4, 5, 5, 7, 9};
  EXPECT_EQ(mean(values), 5);
  EXPECT_NEAR(standard_deviation(values), std::sqrt(32.0 / 7), 1e-15);
  EXPECT_NEAR(standard_error(values), std::sqrt(32.0 / 7 / 8), 1e-15);
  EXPECT_TRUE(std::isnan(mean({})));
  const std::vector<double> one = {1};
  EXPECT_TRUE(std::isnan(standard_deviation(one)));
}

TEST(Moments, PairwiseSumKeepsItsDigits) {
  const std::vector<double> values(1'000'000, 0.1);
  EXPECT_NEAR(sum(values), 1e5, 1e-9);  // one after the other: off by 1.3e-6
}

TEST(Holm, MatchesAWorkedExample) {
  // 0.01·4, then 0.02·3 = 0.06, 0.03·2 = 0.06, 0.04·1 → not below what came before
  const std::vector<double> p = {0.03, 0.01, std::nan(""), 0.04, 0.02};
  const std::vector<double> adjusted = holm_adjusted(p);
  EXPECT_NEAR(adjusted[1], 0.04, 1e-15);
  EXPECT_NEAR(adjusted[4], 0.06, 1e-15);
  EXPECT_NEAR(adjusted[0], 0.06, 1e-15);
  EXPECT_NEAR(adjusted[3], 0.06, 1e-15);
  EXPECT_TRUE(std::isnan(adjusted[2]));
  const std::vector<double> large = {0.9, 0.8};
  EXPECT_EQ(holm_adjusted(large)[0], 1.0);
}

// Golden: any table of Student's t; df 1 is Cauchy's distribution: tan(π(p − ½)).
TEST(StudentT, MatchesTables) {
  EXPECT_NEAR(student_t_quantile(0.975, 1), std::tan(0.475 * std::acos(-1.0)), 1e-9);
  EXPECT_NEAR(student_t_quantile(0.975, 4), 2.7764451051977987, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.975, 30), 2.0422724563012373, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.025, 10), -2.2281388519649385, 1e-9);
  EXPECT_NEAR(student_t_quantile(0.975, std::numeric_limits<double>::infinity()), 1.959963984540054, 1e-9);
  EXPECT_NEAR(student_t_cdf(2.0, 2.5), 1 - student_t_cdf(-2.0, 2.5), 1e-14);
}

TEST(Correlation, MatchesDefinitions) {
  const std::vector<double> x = {1, 2, 3, 4, 5}, y = {2, 4, 6, 8, 10}, down = {5, 4, 3, 2, 1}, flat = {1, 1, 1, 1, 1},
                            curve = {1, 4, 9, 16, 25};
  EXPECT_NEAR(pearson(x, y), 1, 1e-15);
  EXPECT_NEAR(pearson(x, down), -1, 1e-15);
  EXPECT_LT(pearson(x, curve), 1);
  EXPECT_NEAR(spearman(x, curve), 1, 1e-15);
  EXPECT_TRUE(std::isnan(pearson(x, flat)));
  const std::vector<double> ties = {3, 1, 3, 2}, expected = {3.5, 1, 3.5, 2};
  EXPECT_EQ(ranks(ties), expected);
}

}  // namespace
}  // namespace aqlm_exp::statistics
