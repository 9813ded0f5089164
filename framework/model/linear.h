// A linear layer of a model: a weight in some form, a bias, and what runs it.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "framework/backend/backend.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::model {

struct Linear {
  std::string name;  ///< "model.layers.0.self_attn.q_proj"
  std::string role;  ///< "q_proj", "down_proj", ...: column of the per-layer tables
  std::shared_ptr<quant::Weight> weight;
  at::Tensor bias;  ///< [out_features] in the model's dtype, or undefined
  /// What a backend prepared; without it forward() dequantises in each call and is differentiable.
  std::shared_ptr<const backend::LinearOp> op;
  /// Where this linear is the first of several that read the same input: what a backend made of them together.
  std::shared_ptr<const backend::GroupOp> group;
  /// Called with each input of forward() when set: calibration looks at activations through it.
  std::function<void(const at::Tensor& x)> observer;

  /// @param x [..., in_features] → [..., out_features], of the same dtype
  at::Tensor forward(const at::Tensor& x) const;
};

/// Linears that read the same x, in one operation where a backend made one of them.
/// @return one output a linear
std::vector<at::Tensor> forward_together(const std::vector<const Linear*>& linears, const at::Tensor& x);

}  // namespace aqlm_exp::model
