#include "analysis/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace aqlm_exp::analysis {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// Continued fraction of the incomplete beta function (Lentz's method; DLMF 8.17.22).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  double c = 1, d = 1 - (a + b) * x / (a + 1);
  if (std::abs(d) < kTiny) d = kTiny;
  d = 1 / d;
  double result = d;
  for (int m = 1; m <= 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double step = 1;
    for (const double term : {even, odd}) {
      d = 1 + term * d;
      if (std::abs(d) < kTiny) d = kTiny;
      c = 1 + term / c;
      if (std::abs(c) < kTiny) c = kTiny;
      d = 1 / d;
      step = d * c;
      result *= step;
    }
    if (std::abs(step - 1) < 1e-15) break;
  }
  return result;
}

/// Regularised incomplete beta function I_x(a, b).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, 1 - x) / b;
}

}  // namespace

double student_t_p_value(double t, double degrees) {
  if (std::isinf(t)) return 0;
  return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t));
}

double student_t_quantile(double confidence, double degrees) {
  double low = 0, high = 1;
  while (student_t_p_value(high, degrees) > 1 - confidence && high < 1e12) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = (low + high) / 2;
    (student_t_p_value(middle, degrees) > 1 - confidence ? low : high) = middle;
  }
  return (low + high) / 2;
}

std::optional<Interval> mean_interval(const std::vector<double>& values, double confidence) {
  const auto n = static_cast<double>(values.size());
  if (values.size() < 2) return std::nullopt;
  double sum = 0;
  for (double value : values) sum += value;
  const double mean = sum / n;
  double squares = 0;
  for (double value : values) squares += (value - mean) * (value - mean);
  if (!std::isfinite(squares)) return std::nullopt;
  const double half = student_t_quantile(confidence, n - 1) * std::sqrt(squares / (n - 1) / n);
  return Interval{.mean = mean, .low = mean - half, .high = mean + half, .n = static_cast<int64_t>(values.size())};
}

std::optional<PairedDifference> paired_difference(const std::vector<double>& a, const std::vector<double>& b,
                                                  double confidence) {
  if (a.size() != b.size()) return std::nullopt;
  std::vector<double> differences(a.size());
  for (size_t i = 0; i < a.size(); ++i) differences[i] = b[i] - a[i];
  const std::optional<Interval> interval = mean_interval(differences, confidence);
  if (!interval) return std::nullopt;
  const auto n = static_cast<double>(interval->n);
  const double half = (interval->high - interval->low) / 2;
  // The standard error back from the interval, for the p-value.
  const double error = half / student_t_quantile(confidence, n - 1);
  const double p = error > 0 ? student_t_p_value(std::abs(interval->mean) / error, n - 1) : interval->mean == 0 ? 1 : 0;
  return PairedDifference{.mean = interval->mean,
                          .low = interval->low,
                          .high = interval->high,
                          .p_value = p,
                          .n = interval->n,
                          .confidence = confidence};
}

double median(std::vector<double> values) {
  if (values.empty() || std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return kNan;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace aqlm_exp::analysis
