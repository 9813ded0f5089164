// Greedy answers and their speed in one call, for trials.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "framework/backend/profile.h"
#include "framework/model/model.h"

namespace aqlm_exp::generate {

/// The `num_tokens` most likely continuations, one after the other (ties: lowest id).
std::vector<int32_t> greedy(const model::Model& model, std::span<const int32_t> prompt, int64_t num_tokens);

struct SpeedOptions {
  int64_t prompt_tokens = 64;
  int64_t decode_tokens = 64;  ///< timed; the first token after the prompt belongs to the prefill
  int64_t repeats = 3;         ///< timed runs, after one warm-up run
};

struct Speed {
  std::vector<double> prefill_tokens_per_s;  ///< one a repeat
  std::vector<double> decode_tokens_per_s;
};

/// Batch 1, greedy. @throws DataError if prompt + answer do not fit the model's positions
Speed measure_speed(const model::Model& model, std::span<const int32_t> text, const SpeedOptions& options);

/// Where the time of decoding goes: one more run as measure_speed() times it, with a clock around each linear.
std::vector<backend::Profile::Share> kernel_shares(const model::Model& model, std::span<const int32_t> text,
                                                   const SpeedOptions& options);

double median(std::vector<double> values);

}  // namespace aqlm_exp::generate
