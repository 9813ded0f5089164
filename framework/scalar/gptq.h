// GPTQ: columns are rounded one after another, and what rounding got wrong is made good in the columns still to come.
// Source: arXiv:2210.17323, algorithm 1, as in IST-DASLab/gptq gptq.py. We differ in one thing: the Cholesky factors
// are computed in float64 (the reference: float32), which only moves rounding and fails less often.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "framework/scalar/grid.h"
#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::scalar {

enum class OnNotPositiveDefinite {
  kError,            ///< throw and say which damping to try
  kIncreaseDamping,  ///< add 0.01 to the damping until it works (below 1), as GPTQModel does; the result says how much
};

struct GptqOptions {
  int64_t nbits = 4;
  int64_t group_size = -1;  ///< -1: one grid per row, fitted before anything is rounded
  bool symmetric = false;
  bool mse = false;            ///< range search of the grid, see GridOptions
  bool desc_act = false;       ///< columns in order of falling Hessian diagonal ("act-order")
  bool static_groups = false;  ///< grids of all groups from the original weight; needs group_size
  double damp_percent = 0.01;  ///< added to the diagonal, as a fraction of its mean
  int64_t block_size = 128;    ///< columns between two updates of the rest of the matrix
  OnNotPositiveDefinite on_not_positive_definite = OnNotPositiveDefinite::kError;
};

struct GptqResult {
  ScalarCode code;
  double loss = 0;               ///< sum over weights of (w - q)^2 / (2 U_ii^2): the reference's "error"
  double damp_percent_used = 0;  ///< above options.damp_percent if the damping had to be raised
  int64_t num_dead_columns = 0;  ///< inputs that were zero over the whole calibration; their weights become 0
};

/// @param weight [out_features, in_features], floating point, not changed
/// @param hessian [in_features, in_features], symmetric, any positive multiple of sum x x^T
/// @throws NumericalError if the damped Hessian is not positive definite, or holds NaN; DataError if shapes disagree;
/// ConfigError if options contradict each other
GptqResult gptq(const at::Tensor& weight, const at::Tensor& hessian, const GptqOptions& options);

/// GPTQ's Hessian from the mean over tokens of x x^T: 2 / sequences * sum x x^T. (A factor that cancels; for
/// comparing.)
at::Tensor hessian_from_xtx(const at::Tensor& xtx, int64_t num_tokens, int64_t num_sequences);

}  // namespace aqlm_exp::scalar
