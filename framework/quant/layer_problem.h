// The problem that encoders and tuners solve for one linear layer: weights close to `weight` under the inputs' second
// moments. Source: AQLM, arXiv:2401.06118 eq. 2 and 7.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace aqlm_exp::quant {

struct LayerProblem {
  at::Tensor weight;  ///< [out_features, in_features] float32: the target
  at::Tensor xtx;     ///< [in_features, in_features] float32 or float64: mean over calibration tokens of x·xᵀ
  std::string name;   ///< for messages: "model.layers.0.self_attn.q_proj"
};

/// tr((Ŵ−W) H (Ŵ−W)ᵀ), in float64.
double output_error(const at::Tensor& approximation, const at::Tensor& weight, const at::Tensor& xtx);
/// output_error over tr(W H Wᵀ); 0 when both are 0.
double relative_output_error(const at::Tensor& approximation, const at::Tensor& weight, const at::Tensor& xtx);
/// ‖Ŵ−W‖² / ‖W‖², in float64; 0 when both are 0.
double relative_weight_error(const at::Tensor& approximation, const at::Tensor& weight);

/// @throws DataError naming problem.name if weight or xtx hold NaN or infinite values, or their shapes disagree
void check_problem(const LayerProblem& problem);

}  // namespace aqlm_exp::quant
