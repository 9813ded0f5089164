// The two uniform grids of the field, and round-to-nearest onto them. They differ: GPTQ's forces zero into the range,
// AWQ's does not, so "RTN" means two things. Sources: IST-DASLab/gptq quant.py (arXiv:2210.17323),
// mit-han-lab/llm-awq awq/quantize/quantizer.py (arXiv:2306.00978).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::scalar {

enum class GridKind { kGptq, kAwq };

struct GridOptions {
  GridKind kind = GridKind::kGptq;
  int64_t nbits = 4;
  bool symmetric = false;
  /// GPTQ grid only: shrink the range in steps of 1% down to 20% and keep, per row, the first smallest sum |error|^2.4.
  bool mse = false;
};

/// One scale and zero point a row, float32 [rows]. Codes are clamp(round(w / scale) + zero, 0, 2^nbits - 1).
struct Grid {
  at::Tensor scale, zero;
};

/// @param groups [rows, columns] float32, a group a row
Grid fit_grid(const at::Tensor& groups, const GridOptions& options);

/// clamp(round(w / scale) + zero, 0, 2^nbits - 1), rounding half to even; the arguments broadcast. @return float32
at::Tensor grid_codes(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero, int64_t nbits);

/// Grids of all groups of all rows.
/// @param weight [out_features, in_features] float32
/// @param group_size -1 or >= 1
/// @return scale and zero as [out_features, num_groups] float32
Grid fit_row_groups(const at::Tensor& weight, int64_t group_size, const GridOptions& options);

/// What a weight becomes on its grid, in float32 arithmetic and without storing anything: the inner step of searches.
/// @param weight [out_features, in_features] float32; in_features a multiple of group_size (or group_size -1)
at::Tensor pseudo_quantise(const at::Tensor& weight, int64_t group_size, const GridOptions& options);

/// Round-to-nearest.
/// @param weight [out_features, in_features], floating point
/// @throws DataError, NumericalError, ConfigError (see check_weight, check_format); DataError on the AWQ grid if
/// in_features is not a multiple of group_size
ScalarCode rtn(const at::Tensor& weight, int64_t group_size, const GridOptions& options);

}  // namespace aqlm_exp::scalar
