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

/// One entry a block, by Linear::role. The loss is the cross-entropy of the true next tokens; the gradient is taken at
/// each linear's output z_t, and w_t = mean over output channels of (∂L/∂z_t)², divided by its mean over tokens.
/// @param clip largest weight, none if absent
/// @param cache shares the squared gradients between trials; may be null
/// @throws NumericalError if a gradient is NaN or infinite
std::vector<std::map<std::string, TokenWeights>> token_weights(const model::Model& model,
                                                               const Calibration& calibration,
                                                               std::optional<double> clip,
                                                               CalibrationCache* cache);

}  // namespace aqlm_exp::method
