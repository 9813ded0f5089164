// How much each token matters to each linear, from one backward pass of the float model.
// Source: GuidedQuant, arXiv:2505.07004 §3, with one group of output channels a linear.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/method/method.h"
#include "framework/model/model.h"

namespace aqlm_exp::method {

struct TokenWeights {
  at::Tensor weights;      ///< [num_samples, seq_len] float32, mean 1 before clipping; ones where there is no gradient
  double mean_square = 0;  ///< mean over tokens and output channels of the squared gradient of the mean loss
};

struct TokenWeightOptions {
  std::optional<double> clip = {};    ///< largest weight a token can have, none if absent
  at::ScalarType dtype = at::kFloat;  ///< of the pass: kFloat, or kBFloat16 for weights, activations, gradients
  bool by_stage = false;              ///< linears of a stage share the mean of their weights
};

/// Of one block's linears, by Linear::role. With by_stage those of a stage hold the same tensor.
using RoleWeights = std::map<std::string, TokenWeights>;

/// One entry a block. The loss is the cross-entropy of the true next tokens; the gradient is taken at each linear's
/// output z_t, and w_t = mean over output channels of (∂L/∂z_t)², divided by its mean over tokens.
/// @param cache shares the squared gradients between trials; may be null
/// @throws NumericalError if a gradient is NaN or infinite
std::vector<RoleWeights> token_weights(const model::Model& model, const Calibration& calibration,
                                       const TokenWeightOptions& options, CalibrationCache* cache);

}  // namespace aqlm_exp::method
