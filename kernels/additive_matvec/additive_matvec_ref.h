// The answer that every kernel of this family is held to: plain loops, double accumulation.
#pragma once

#include <cstdint>

#include "kernels/additive_matvec/additive_shape.h"

namespace aqlm_exp::additive_matvec {

/// y[b, o] = sum_i W[o, i] x[b, i] (+ bias[o]) (+ residual[b, o]).
/// @param codes [num_out_groups, num_in_groups, num_codebooks], each below 2^nbits_per_codebook
/// @param codebooks [num_codebooks, 2^nbits_per_codebook, out_group_size, in_group_size]
/// @param scales [num_out_groups, scale_groups]
/// @param bias [out_features] or null; @param residual [batch, out_features] or null
/// @param x [batch, in_features]; @param y [batch, out_features], written
void additive_matvec_ref(const AdditiveShape& shape, const uint16_t* codes, const float* codebooks, const float* scales,
                         const float* bias, const double* residual, const float* x, int64_t batch, double* y);

/// The dense weight [out_features, in_features] in double.
void additive_dequantise_ref(const AdditiveShape& shape, const uint16_t* codes, const float* codebooks,
                             const float* scales, double* weight);

}  // namespace aqlm_exp::additive_matvec
