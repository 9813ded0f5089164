// How the next token is chosen, as a user says it; and the choice itself on the CPU.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "kernels/decode/sample.h"

namespace aqlm_exp::generate {

/// The rule in full: kernels/decode/sample.h.
struct SamplingOptions {
  double temperature = 0.7;         ///< 0: greedy
  int64_t top_k = 0;                ///< 0: all tokens
  double top_p = 1.0;               ///< 1: all tokens
  double min_p = 0.0;               ///< 0: all tokens
  double repetition_penalty = 1.0;  ///< 1: none; over prompt and answer, as in transformers
  uint64_t seed = 0;

  static SamplingOptions greedy();
};

/// @throws ConfigError for a value out of its range, naming it
decode::SampleParams sample_params(const SamplingOptions& options);

/// "greedy" or "temperature 0.7, top-p 0.9, seed 3".
std::string describe(const SamplingOptions& options);

/// Uniform numbers of one sequence: the same for the same seed, on every machine and device.
class UniformStream {
 public:
  explicit UniformStream(uint64_t seed) : rng_(Rng(seed).fork("sampling")) {}
  double next() { return rng_.uniform(); }

 private:
  Rng rng_;
};

/// Chooses the tokens of one sequence.
class Sampler {
 public:
  /// @throws ConfigError as sample_params
  Sampler(const SamplingOptions& options, int64_t vocab_size);
  /// Tokens that the penalty counts as having occurred.
  void note(std::span<const int32_t> tokens);
  /// @param logits [vocab_size], changed in place by the penalty. The choice is noted.
  /// @throws NumericalError if no logit is a number, or one is infinite
  int32_t choose(std::span<float> logits);

 private:
  decode::SampleParams params_;
  UniformStream uniforms_;
  std::vector<uint8_t> seen_;  // empty without a penalty
};

}  // namespace aqlm_exp::generate
