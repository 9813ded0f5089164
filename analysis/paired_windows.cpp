#include "analysis/paired_windows.h"

#include <algorithm>
#include <cmath>

#include "framework/statistics/repeats.h"
#include "framework/statistics/summary.h"

namespace aqlm_exp::analysis {
namespace {

using statistics::Block;

constexpr int64_t kResamples = 10000;
constexpr double kTailResamples = 10;  // at least so many resamples lie beyond each end of an interval

const std::vector<double>* samples_of(const results::TrialRecord& record, const std::string& name) {
  for (const results::Samples& samples : record.samples) {
    if (samples.name == name) return &samples.values;
  }
  return nullptr;
}

bool same_blocks(std::span<const std::vector<Block>> runs, const std::vector<Block>& as) {
  return std::all_of(runs.begin(), runs.end(), [&](const std::vector<Block>& run) {
    return run.size() == as.size() && std::equal(run.begin(), run.end(), as.begin(),
                                                 [](const Block& x, const Block& y) { return x.count == y.count; });
  });
}

}  // namespace

std::vector<Block> window_blocks(const results::TrialRecord& record, const std::string& metric) {
  const bool kl = metric == results::metric::kKl;
  const std::vector<double>* means = samples_of(record, kl ? "window_kl" : "window_loss");
  if (means == nullptr) return {};
  const std::vector<double>* counts = samples_of(record, kl ? "window_positions" : "window_tokens");
  const std::vector<double>* documents = samples_of(record, "window_document");
  if (counts != nullptr && counts->size() != means->size()) counts = nullptr;
  if (documents != nullptr && documents->size() != means->size()) documents = nullptr;
  std::vector<Block> blocks;
  for (size_t i = 0; i < means->size(); ++i) {
    const double value = (*means)[i];
    const auto count = counts != nullptr ? static_cast<int64_t>((*counts)[i]) : 1;
    if (!std::isfinite(value) || count < 1) return {};
    if (i > 0 && documents != nullptr && (*documents)[i] == (*documents)[i - 1]) {
      blocks.back().sum += value * static_cast<double>(count);
      blocks.back().count += count;
    } else {
      blocks.push_back({.sum = value * static_cast<double>(count), .count = count});
    }
  }
  return blocks;
}

std::optional<PairedDifference> paired_difference(std::span<const std::vector<Block>> a,
                                                  std::span<const std::vector<Block>> b, double confidence) {
  if (a.empty() || b.empty() || a.front().size() < 2) return std::nullopt;
  if (!same_blocks(a, a.front()) || !same_blocks(b, a.front())) return std::nullopt;
  PairedDifference result;
  const auto take = [&](const statistics::Comparison& comparison, const char* method) {
    result.mean = comparison.difference;
    result.low = comparison.ci_low;
    result.high = comparison.ci_high;
    result.p_value = comparison.p_value;
    result.num_blocks = comparison.num_blocks;
    result.confidence = confidence;
    result.method = method;
  };
  const bool resolved = (1 - confidence) / 2 * static_cast<double>(kResamples) >= kTailResamples;
  if (a.size() == 1 && b.size() == 1 && resolved) {
    take(statistics::compare_paired(b.front(), a.front(),
                                    {.resamples = kResamples, .confidence = confidence, .seed = 0}),
         "paired block bootstrap");
  } else {
    const statistics::RepeatComparison comparison = statistics::compare_runs(b, a, confidence);
    const bool seeds = a.size() > 1 || b.size() > 1;
    take(comparison, seeds ? "Welch, with seeds" : "paired Student");
    result.ignores_seeds = seeds && comparison.ignores_seeds;
  }
  if (!std::isfinite(result.mean) || !std::isfinite(result.low) || !std::isfinite(result.high)) return std::nullopt;
  return result;
}

std::optional<Interval> mean_interval(std::span<const double> values, double confidence) {
  const double mean = statistics::mean(values), error = statistics::standard_error(values);
  if (!std::isfinite(mean) || !std::isfinite(error)) return std::nullopt;
  const double half =
      error * statistics::student_t_quantile(0.5 + confidence / 2, static_cast<double>(values.size()) - 1);
  return Interval{.mean = mean, .low = mean - half, .high = mean + half};
}

double median(const std::vector<double>& values) {
  if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return results::kAbsent;
  return statistics::quantile(values, 0.5);
}

}  // namespace aqlm_exp::analysis
