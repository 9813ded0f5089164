// A linear layer made up from random numbers, with heavy-tailed weights and inputs as language models have them: for
// comparing quantisers where no model of that size is at hand.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "framework/quant/layer_problem.h"

namespace aqlm_exp::app {

struct SyntheticShape {
  int64_t out_features = 0, in_features = 0;
  int64_t num_tokens = 8192;  ///< behind xtx, and behind xtx of fresh tokens
};

/// "synthetic:4096x4096" or "synthetic:4096x4096x8192" (tokens last). @return nothing for other names
/// @throws ConfigError for a name that starts so and does not go on so
std::optional<SyntheticShape> parse_synthetic(const std::string& name);

struct SyntheticLayer {
  quant::LayerProblem problem;
  at::Tensor fresh_xtx;  ///< [in, in] float64, of other tokens of the same law
};

/// Weights: Student-t with 5 degrees of freedom, rows times log-normal scales (sigma 0.3). Inputs: Gaussian with
/// variances 1/i in a random basis, then one channel in a hundred times 10.
SyntheticLayer make_synthetic_layer(const SyntheticShape& shape, uint64_t seed, at::Device device);

}  // namespace aqlm_exp::app
