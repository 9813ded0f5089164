// Intervals and paired differences from values per evaluation window.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace aqlm_exp::analysis {

struct Interval {
  double mean = 0;
  double low = 0, high = 0;
  int64_t n = 0;  ///< observations
};

/// Two-sided quantile of Student's t: P(|T| <= t) = confidence. By bisection on the incomplete beta function.
/// @param degrees > 0
double student_t_quantile(double confidence, double degrees);
/// P(|T| >= t)
double student_t_p_value(double t, double degrees);

/// Mean and Student interval of independent values; nothing for less than two, or for NaN among them.
std::optional<Interval> mean_interval(const std::vector<double>& values, double confidence = 0.95);

/// b − a, window by window: both models read the same text, so that what makes a window hard cancels.
struct PairedDifference {
  double mean = 0;
  double low = 0, high = 0;  ///< of the mean, at `confidence`
  double p_value = 1;        ///< of "no difference", two-sided
  int64_t n = 0;             ///< pairs
  double confidence = 0.95;
  bool excludes_zero() const { return low > 0 || high < 0; }
};

/// Paired Student interval. Nothing when the sizes differ, for less than two pairs, or for NaN.
std::optional<PairedDifference> paired_difference(const std::vector<double>& a, const std::vector<double>& b,
                                                  double confidence = 0.95);

/// Middle value, mean of the two middle ones for an even number; NaN if there are none or NaN is among them.
double median(std::vector<double> values);

}  // namespace aqlm_exp::analysis
