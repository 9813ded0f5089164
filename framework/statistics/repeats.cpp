#include "framework/statistics/repeats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/base/error.h"
#include "framework/statistics/summary.h"

namespace aqlm_exp::statistics {
namespace {

double mean_of(const std::vector<Block>& blocks) {
  double sum = 0, count = 0;
  for (const Block& block : blocks) {
    sum += block.sum;
    count += static_cast<double>(block.count);
  }
  return sum / count;
}

std::vector<double> means_of(std::span<const std::vector<Block>> runs) {
  std::vector<double> means;
  for (const std::vector<Block>& run : runs) means.push_back(mean_of(run));
  return means;
}

void check_runs(std::span<const std::vector<Block>> runs, const std::vector<Block>& like) {
  for (const std::vector<Block>& run : runs) {
    if (run.size() != like.size() || run.empty()) {
      throw DataError(fmt::format("[compare] runs of {} and {} blocks; need the same blocks of the same text",
                                  run.size(), like.size()));
    }
    for (size_t i = 0; i < run.size(); ++i) {
      if (run[i].count != like[i].count || run[i].count <= 0 || !std::isfinite(run[i].sum)) {
        throw DataError(
            fmt::format("[compare] block {} has {} and {} tokens, loss {}; need the same text and finite losses", i,
                        run[i].count, like[i].count, run[i].sum));
      }
    }
  }
}

}  // namespace

RepeatSummary summarise_runs(std::span<const std::vector<Block>> runs) {
  if (runs.empty()) throw DataError("[runs] got none, need at least one");
  check_runs(runs, runs.front());
  const std::vector<double> means = means_of(runs);
  return {.num_runs = static_cast<int64_t>(means.size()),
          .mean = mean(means),
          .standard_deviation = standard_deviation(means),
          .min = *std::min_element(means.begin(), means.end()),
          .max = *std::max_element(means.begin(), means.end())};
}

RepeatComparison compare_runs(std::span<const std::vector<Block>> a, std::span<const std::vector<Block>> b,
                              double confidence) {
  if (a.empty() || b.empty()) throw DataError("[compare] a method without runs");
  if (!(confidence > 0 && confidence < 1)) {
    throw DataError(fmt::format("[compare] confidence {}; need a number between 0 and 1", confidence));
  }
  check_runs(a, a.front());
  check_runs(b, a.front());
  RepeatComparison result;
  result.confidence = confidence;
  result.num_blocks = static_cast<int64_t>(a.front().size());
  const std::vector<double> means_a = means_of(a), means_b = means_of(b);
  result.difference = mean(means_a) - mean(means_b);
  result.ignores_seeds = a.size() == 1 || b.size() == 1;

  // Variances of the three parts, and the degrees of freedom each was estimated with.
  std::vector<std::pair<double, double>> parts;
  double tokens = 0, squares = 0;
  for (const Block& block : a.front()) tokens += static_cast<double>(block.count);
  result.num_tokens = static_cast<int64_t>(tokens);
  const auto num_blocks = static_cast<double>(a.front().size());
  for (size_t i = 0; i < a.front().size(); ++i) {
    double d = -result.difference * static_cast<double>(a.front()[i].count);
    for (const auto& run : a) d += run[i].sum / static_cast<double>(a.size());
    for (const auto& run : b) d -= run[i].sum / static_cast<double>(b.size());
    squares += d * d;
  }
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (num_blocks < 2) {
    result.standard_error = std::numeric_limits<double>::quiet_NaN();
    result.ci_low = -kInfinity;
    result.ci_high = kInfinity;
    return result;
  }
  parts.emplace_back(num_blocks / (num_blocks - 1) * squares / (tokens * tokens), num_blocks - 1);
  for (const auto* means : {&means_a, &means_b}) {
    if (means->size() < 2) continue;
    const double deviation = standard_deviation(*means);
    const auto runs = static_cast<double>(means->size());
    parts.emplace_back(deviation * deviation / runs, runs - 1);
  }
  double variance = 0, below = 0;
  for (const auto& [part, df] : parts) {
    variance += part;
    below += part * part / df;
  }
  result.standard_error = std::sqrt(variance);
  if (variance <= 0) {
    result.ci_low = result.ci_high = result.difference;
    result.degrees_of_freedom = num_blocks - 1;
    result.p_value = result.difference == 0 ? 1.0 : 0.0;
    return result;
  }
  result.degrees_of_freedom = variance * variance / below;
  const double reach = student_t_quantile(1 - (1 - confidence) / 2, result.degrees_of_freedom) * result.standard_error;
  result.ci_low = result.difference - reach;
  result.ci_high = result.difference + reach;
  result.p_value = 2 * student_t_cdf(-std::abs(result.difference) / result.standard_error, result.degrees_of_freedom);
  return result;
}

}  // namespace aqlm_exp::statistics
