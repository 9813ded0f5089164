// Is model A better than model B on this text? Both scored the same tokens, so the losses are compared token by token;
// tokens of one window or document are no independent evidence, so whole blocks are resampled.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace aqlm_exp::statistics {

/// What one model lost on one block of text (a window, a document, one question of a task).
struct Block {
  double sum = 0;     ///< of the losses of its tokens, e.g. nats
  int64_t count = 0;  ///< its tokens
};

/// Cuts per-token values into blocks of the given sizes. @throws DataError if the sizes do not add up to the values
std::vector<Block> make_blocks(std::span<const double> values, std::span<const int64_t> sizes);
/// Blocks of one value each: windows' means that count alike, questions of a task.
std::vector<Block> make_blocks(std::span<const double> means);

struct BootstrapOptions {
  int64_t resamples = 10000;
  double confidence = 0.95;
  uint64_t seed = 0;
};

struct Comparison {
  double difference = 0;      ///< mean of A − mean of B, per token
  double standard_error = 0;  ///< of the difference, between blocks; NaN for a single block
  double ci_low = 0, ci_high = 0;
  double p_value = 1;  ///< two-sided, of "no difference"; never below 2 / (resamples + 1)
  double confidence = 0.95;
  int64_t num_blocks = 0, num_tokens = 0;
  /// Zero lies in the interval: neither may be called better.
  bool is_tie() const { return !(ci_low > 0 || ci_high < 0); }
};

/// Paired block bootstrap, studentised: each resample draws as many blocks as there are, with replacement, and its
/// difference is divided by its own standard error, which keeps the interval's coverage with few or skewed blocks
/// (Efron and Tibshirani, An Introduction to the Bootstrap, 12.5). The p-value inverts the interval. The same seed
/// gives the same numbers everywhere. A single block gives no interval: −∞ to ∞, p 1, a tie.
/// @throws DataError if A and B have different blocks (another text, window or convention), or there are none
Comparison compare_paired(std::span<const Block> a, std::span<const Block> b, const BootstrapOptions& options = {});

/// "gptq better than rtn by 0.0210 ± 0.0061 nats/token (95% interval 0.0093 to 0.0334, p 0.0004, 48 blocks)", or "tie:
/// ...". @param lower_is_better  true for losses, false for accuracies
std::string sentence(const Comparison& comparison, const std::string& name_a, const std::string& name_b,
                     const std::string& unit, bool lower_is_better = true);

}  // namespace aqlm_exp::statistics
