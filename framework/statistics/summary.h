// Summaries of a list of numbers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace aqlm_exp::statistics {

/// Sums in an order that keeps rounding errors small (pairwise). 0 for an empty list.
double sum(std::span<const double> values);
/// NaN for an empty list.
double mean(std::span<const double> values);
/// Sample standard deviation (n − 1 below the line). NaN for fewer than two values.
double standard_deviation(std::span<const double> values);
/// standard_deviation / √n: of the mean of independent values. NaN for fewer than two.
double standard_error(std::span<const double> values);

/// Quantile q in [0, 1] by linear interpolation between order statistics (Hyndman and Fan's type 7, NumPy's default).
/// NaN for an empty list; NaN in the list is an error of the caller (asserted).
double quantile(std::span<const double> values, double q);
/// Several quantiles of one list, which is sorted once.
std::vector<double> quantiles(std::span<const double> values, std::span<const double> q);

/// P-values corrected for many comparisons (Holm's step-down rule): reject where the result is below the level, and the
/// chance of any false rejection is below it too. NaN stays NaN and is not counted as a comparison.
std::vector<double> holm_adjusted(std::span<const double> p_values);

/// Quantile of Student's t distribution: P(T ≤ result) = p. df > 0 may be fractional; infinite: the normal
/// distribution.
double student_t_quantile(double p, double df);
/// P(T ≤ t).
double student_t_cdf(double t, double df);

}  // namespace aqlm_exp::statistics
