// The same comparison when each method ran with several seeds: the text is one source of chance, the seeds another.
#pragma once

#include <span>
#include <vector>

#include "framework/statistics/paired.h"

namespace aqlm_exp::statistics {

struct RepeatSummary {
  int64_t num_runs = 0;
  double mean = 0;                ///< over runs, of the mean per token
  double standard_deviation = 0;  ///< between runs; NaN for one
  double min = 0, max = 0;
};
/// @param runs one list of blocks a seed, all of the same text
RepeatSummary summarise_runs(std::span<const std::vector<Block>> runs);

/// Mean of A's runs − mean of B's. The error joins three independent parts, the blocks' (of the run-averaged
/// differences) and each method's spread between seeds over its number of runs; the interval is Student's with
/// Welch and Satterthwaite's degrees of freedom. A method with one run adds no spread: `ignores_seeds` says so.
struct RepeatComparison : Comparison {
  bool ignores_seeds = false;
  double degrees_of_freedom = 0;
};
/// @throws DataError as compare_paired does
RepeatComparison compare_runs(std::span<const std::vector<Block>> a, std::span<const std::vector<Block>> b,
                              double confidence = 0.95);

}  // namespace aqlm_exp::statistics
