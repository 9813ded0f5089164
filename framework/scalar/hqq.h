// HQQ: half-quadratic quantisation. The scale is fixed by the range of a group; the zero point, a real number, is
// optimised so that an l_p norm (p < 1) of the weight error falls; no calibration data. Source: mobiusml/hqq
// core/quantize.py and core/optimize.py; https://mobiusml.github.io/hqq_blog. Arithmetic is float32 (the package:
// float16 on CUDA).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "framework/scalar/scalar_code.h"

namespace aqlm_exp::scalar {

enum class HqqVariant {
  kLegacy,  ///< the package's default: stops once the error no longer falls, returns the zero points of the step after
  kV2,      ///< stops likewise, returns the zero points with the smallest error
  kSlow,    ///< 100 steps, no early stop
};

struct HqqOptions {
  int64_t nbits = 4;        ///< 1, 2, 3, 4, 5, 6 or 8
  int64_t group_size = 64;  ///< -1: a whole row (axis 1) or column (axis 0)
  int64_t axis = 1;         ///< see ScalarCode::axis
  HqqVariant variant = HqqVariant::kLegacy;
  bool optimise = true;  ///< false: the starting zero points are kept
  std::optional<bool> round_zero =
      std::nullopt;         ///< round the starting zero points; default: exactly when nbits is 4, as the package
  double lp_norm = 0.7;     ///< p
  double beta = 10.0;       ///< starting weight of the quadratic term
  double kappa = 1.01;      ///< beta's growth per step, of kV2 and kSlow (the package's legacy solver ignores it)
  int64_t iterations = 20;  ///< at most this many steps; kSlow: 100
};

struct HqqResult {
  ScalarCode code;
  int64_t iterations = 0;  ///< steps evaluated
  double error = 0;        ///< mean |weight - dequantised| in float32, before rounding to what is stored
};

/// @param weight [out_features, in_features], floating point
/// @throws DataError if groups do not fit (axis 1: in_features, axis 0: the number of weights, must be a multiple of
/// group_size); ConfigError for unsupported options
HqqResult hqq(const at::Tensor& weight, const HqqOptions& options);

}  // namespace aqlm_exp::scalar
