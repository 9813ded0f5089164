// Weights as the kernels want them: shapes, natural codes, column orders; and what no kernel can read.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "framework/quant/additive_weight.h"
#include "framework/quant/weight.h"
#include "kernels/additive_matvec/additive_shape.h"
#include "kernels/scalar_matvec/scalar_shape.h"

namespace aqlm_exp::backend {

/// Where a weight's buffers lie.
at::Device device_of(const quant::Weight& weight);
/// The scheme that a weight is of.
quant::Scheme scheme_of(const quant::Weight& weight);

additive_matvec::AdditiveShape additive_shape(const quant::AdditiveWeight& weight);
/// A scheme on a layer of 16 rows and as many columns as the scheme needs: for questions that do not depend on size.
additive_matvec::AdditiveShape additive_shape(const quant::CodeSpec& code);
/// [num_out_groups, num_in_groups, num_codebooks] uint8 for codes of up to 8 bits, else int16 (wrapped), contiguous.
at::Tensor natural_codes(const quant::AdditiveWeight& weight);

/// A weight of kind kScalar or kTable4, on the CPU, columns in the order of their groups.
struct ScalarOperands {
  scalar_matvec::ScalarShape shape;
  at::Tensor codes;        ///< [out_features, in_features] uint8
  at::Tensor scales;       ///< [out_features, num_groups] float32
  at::Tensor zero_points;  ///< the same, or undefined
  at::Tensor levels;       ///< [16] float32, or undefined: 0, 1, 2, ...
  at::Tensor x_perm;       ///< [in_features] int32: column i multiplies x[x_perm[i]]; undefined: in order
};
/// Empty where scalar_operands() can read the weight; otherwise why not.
std::string scalar_problem(const quant::Weight& weight);
/// @throws InternalError where scalar_problem() says something
ScalarOperands scalar_operands(const quant::Weight& weight);

}  // namespace aqlm_exp::backend
