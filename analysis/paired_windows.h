// Losses per window from result files, as the blocks that paired statistics work on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/results/record.h"
#include "framework/statistics/paired.h"

namespace aqlm_exp::analysis {

/// b − a over the same text, in nats/token.
struct PairedDifference {
  double mean = 0;
  double low = 0, high = 0;  ///< of the mean, at `confidence`
  double p_value = 1;        ///< of "no difference", two-sided
  int64_t num_blocks = 0;
  double confidence = 0.95;
  std::string method = {};     ///< "paired block bootstrap", "Welch, with seeds", "paired Student"
  bool ignores_seeds = false;  ///< one configuration has several seeds, the other only one
  bool excludes_zero() const { return low > 0 || high < 0; }
};

/// A trial's blocks for a ranking metric ("kl" or "ppl"): windows with the number of their tokens, joined to documents
/// where the result says which windows are one document's. Empty when the result holds none, or NaN among them.
std::vector<statistics::Block> window_blocks(const results::TrialRecord& record, const std::string& metric);

/// Compares two configurations, each with the blocks of its trials. One trial each: the paired block bootstrap, or
/// Student's interval over blocks where `confidence` is beyond what 10,000 resamples resolve. Several trials: the
/// spread between seeds is added. Nothing when blocks are missing, differ, or there is only one.
std::optional<PairedDifference> paired_difference(std::span<const std::vector<statistics::Block>> a,
                                                  std::span<const std::vector<statistics::Block>> b, double confidence);

struct Interval {
  double mean = 0;
  double low = 0, high = 0;
};
/// Mean and Student interval of independent values; nothing for less than two, or for NaN among them.
std::optional<Interval> mean_interval(std::span<const double> values, double confidence = 0.95);

/// Middle value, mean of the two middle ones for an even number; NaN if there are none or NaN is among them.
double median(const std::vector<double>& values);

}  // namespace aqlm_exp::analysis
