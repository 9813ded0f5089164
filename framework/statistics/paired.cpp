#include "framework/statistics/paired.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "framework/base/error.h"
#include "framework/base/rng.h"
#include "framework/statistics/summary.h"

namespace aqlm_exp::statistics {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// What a resample needs of a block.
struct Difference {
  double sum;    // of A − B
  double count;  // tokens
};

struct Estimate {
  double ratio;           // Σ sum / Σ count
  double standard_error;  // of the ratio, by linearisation
};

/// From sums over blocks of d, n, d², dn, n². The rest of a block is e = d − ratio·n; Σe = 0.
Estimate estimate(double num_blocks, double d, double n, double dd, double dn, double nn) {
  const double ratio = d / n;
  const double squares = std::max(0.0, dd - 2 * ratio * dn + ratio * ratio * nn);
  return {ratio, std::sqrt(num_blocks / (num_blocks - 1) * squares) / n};
}

void check_pair(std::span<const Block> a, std::span<const Block> b) {
  if (a.empty() || a.size() != b.size()) {
    throw DataError(
        fmt::format("[compare] {} and {} blocks; need the same blocks of the same text under the same convention",
                    a.size(), b.size()));
  }
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].count != b[i].count || a[i].count <= 0) {
      throw DataError(
          fmt::format("[compare] block {} has {} and {} tokens; need the same text under the same convention", i,
                      a[i].count, b[i].count));
    }
    if (!std::isfinite(a[i].sum) || !std::isfinite(b[i].sum)) {
      throw DataError(fmt::format("[compare] block {} has losses {} and {}; need finite ones", i, a[i].sum, b[i].sum));
    }
  }
}

}  // namespace

std::vector<Block> make_blocks(std::span<const double> values, std::span<const int64_t> sizes) {
  std::vector<Block> blocks;
  size_t start = 0;
  for (const int64_t size : sizes) {
    if (size <= 0 || static_cast<size_t>(size) > values.size() - start) {
      throw DataError(fmt::format("[blocks] a block of {} values at {}, there are {}", size, start, values.size()));
    }
    blocks.push_back({sum(values.subspan(start, static_cast<size_t>(size))), size});
    start += static_cast<size_t>(size);
  }
  if (start != values.size()) {
    throw DataError(fmt::format("[blocks] blocks of {} values in all, there are {}", start, values.size()));
  }
  return blocks;
}

std::vector<Block> make_blocks(std::span<const double> means) {
  std::vector<Block> blocks;
  for (const double value : means) blocks.push_back({value, 1});
  return blocks;
}

Comparison compare_paired(std::span<const Block> a, std::span<const Block> b, const BootstrapOptions& options) {
  check_pair(a, b);
  if (options.resamples < 100 || !(options.confidence > 0 && options.confidence < 1)) {
    throw DataError(fmt::format("[compare] {} resamples, confidence {}; need at least 100, and between 0 and 1",
                                options.resamples, options.confidence));
  }
  // Differences around their mean: the sums of squares below then lose no digits when losses are large and alike.
  double total = 0, tokens = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    total += a[i].sum - b[i].sum;
    tokens += static_cast<double>(a[i].count);
  }
  Comparison result{.difference = total / tokens,
                    .confidence = options.confidence,
                    .num_blocks = static_cast<int64_t>(a.size()),
                    .num_tokens = static_cast<int64_t>(tokens)};
  const auto num_blocks = static_cast<double>(a.size());
  if (a.size() < 2) {
    result.standard_error = std::numeric_limits<double>::quiet_NaN();
    result.ci_low = -kInfinity;
    result.ci_high = kInfinity;
    return result;
  }
  std::vector<Difference> rest;
  rest.reserve(a.size());
  double squares = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto count = static_cast<double>(a[i].count);
    rest.push_back({a[i].sum - b[i].sum - result.difference * count, count});
    squares += rest.back().sum * rest.back().sum;
    scale = std::max({scale, std::abs(a[i].sum), std::abs(b[i].sum)});
  }
  result.standard_error = std::sqrt(num_blocks / (num_blocks - 1) * squares) / tokens;
  // All blocks differ by the same amount a token, up to rounding: nothing varies that could be resampled.
  const double rounding = 8 * std::numeric_limits<double>::epsilon() * scale * num_blocks / tokens;
  if (result.standard_error <= rounding) {
    const bool equal = std::abs(result.difference) <= rounding;
    if (equal) result.difference = 0;
    result.standard_error = 0;
    result.ci_low = result.ci_high = result.difference;
    result.p_value = equal ? 1.0 : 2.0 / static_cast<double>(options.resamples + 1);
    return result;
  }

  Rng rng = Rng(options.seed).fork("paired block bootstrap");
  std::vector<double> pivots;  // (ratio of the resample − ratio) / its standard error
  pivots.reserve(static_cast<size_t>(options.resamples));
  for (int64_t r = 0; r < options.resamples; ++r) {
    double d = 0, n = 0, dd = 0, dn = 0, nn = 0;
    for (size_t i = 0; i < rest.size(); ++i) {
      const Difference& drawn = rest[rng.below(rest.size())];
      d += drawn.sum;
      n += drawn.count;
      dd += drawn.sum * drawn.sum;
      dn += drawn.sum * drawn.count;
      nn += drawn.count * drawn.count;
    }
    const Estimate resample = estimate(num_blocks, d, n, dd, dn, nn);
    if (resample.standard_error > 0) {
      pivots.push_back(resample.ratio / resample.standard_error);
    } else {  // one block drawn again and again
      pivots.push_back(resample.ratio == 0 ? 0.0 : std::copysign(kInfinity, resample.ratio));
    }
  }
  std::sort(pivots.begin(), pivots.end());
  const auto count = static_cast<double>(pivots.size());
  const double tail = (1 - options.confidence) / 2;
  const auto pivot_at = [&](double q) {  // order statistic: pivots may be infinite, so no interpolation
    const double place = std::ceil(q * (count + 1)) - 1;
    return pivots[static_cast<size_t>(std::clamp(place, 0.0, count - 1))];
  };
  result.ci_low = result.difference - pivot_at(1 - tail) * result.standard_error;
  result.ci_high = result.difference - pivot_at(tail) * result.standard_error;
  const double observed = result.difference / result.standard_error;
  const auto above = static_cast<double>(pivots.end() - std::lower_bound(pivots.begin(), pivots.end(), observed));
  const auto below = static_cast<double>(std::upper_bound(pivots.begin(), pivots.end(), observed) - pivots.begin());
  result.p_value = std::min(1.0, 2 * (std::min(above, below) + 1) / (count + 1));
  return result;
}

std::string sentence(const Comparison& comparison, const std::string& name_a, const std::string& name_b,
                     const std::string& unit, bool lower_is_better) {
  const bool a_better = (comparison.difference < 0) == lower_is_better;
  const double sign = comparison.difference < 0 ? -1 : 1;
  const double low = sign < 0 ? -comparison.ci_high : comparison.ci_low;
  const double high = sign < 0 ? -comparison.ci_low : comparison.ci_high;
  const std::string space = unit.empty() ? "" : " ";
  const std::string figures =
      fmt::format("{:.4f} ± {:.4f}{}{} ({:g}% interval {:.4f} to {:.4f}, p {:.4g}, {} blocks)",
                  std::abs(comparison.difference), comparison.standard_error, space, unit, 100 * comparison.confidence,
                  low, high, comparison.p_value, comparison.num_blocks);
  if (comparison.is_tie()) return fmt::format("tie: {} and {} differ by {}", name_a, name_b, figures);
  return fmt::format("{} better than {} by {}", a_better ? name_a : name_b, a_better ? name_b : name_a, figures);
}

}  // namespace aqlm_exp::statistics
