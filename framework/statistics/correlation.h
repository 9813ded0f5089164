// How two lists of numbers go together.
#pragma once

#include <span>
#include <vector>

namespace aqlm_exp::statistics {

/// Pearson's r. NaN for fewer than two pairs or where one list does not vary. Lists of one length (asserted).
double pearson(std::span<const double> x, std::span<const double> y);
/// Ranks 1..n; equal values share the mean of their ranks.
std::vector<double> ranks(std::span<const double> values);
/// Spearman's rank correlation: Pearson's r of the ranks.
double spearman(std::span<const double> x, std::span<const double> y);

}  // namespace aqlm_exp::statistics
