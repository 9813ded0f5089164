// The answer that every kernel of this family is held to: plain loops, double accumulation.
#pragma once

#include <cstdint>

#include "kernels/scalar_matvec/scalar_shape.h"

namespace aqlm_exp::scalar_matvec {

/// The levels of NF4 (QLoRA, arXiv:2305.14314), as bitsandbytes rounds them.
extern const float kNf4Levels[16];

/// The dense weight [out_features, in_features], columns in stored order.
/// @param codes [out_features, in_features], one code a byte; @param levels [2^nbits] or null for 0, 1, 2, ...
/// @param scales, zero_points [out_features, num_groups]; zero_points may be null (zeros)
void scalar_dequantise_ref(const ScalarShape& shape, const uint8_t* codes, const float* levels, const float* scales,
                           const float* zero_points, double* weight);

/// y[b, o] = sum_i W[o, i] x[b, x_perm[i]] (+ bias[o]) (+ residual[b, o]); x_perm, bias and residual may be null.
void scalar_matvec_ref(const ScalarShape& shape, const uint8_t* codes, const float* levels, const float* scales,
                       const float* zero_points, const int32_t* x_perm, const float* bias, const double* residual,
                       const float* x, int64_t batch, double* y);

}  // namespace aqlm_exp::scalar_matvec
