// LLM.int8(): weights as 8-bit rows, activations as 8-bit tokens, and the input columns in which this call has a large
// activation in float16. Source: arXiv:2208.07339, as in bitsandbytes' backends/default/ops.py. We differ: products are
// summed exactly and returned in float32 (bitsandbytes returns float16).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "framework/quant/weight.h"

namespace aqlm_exp::scalar {

/// The name of the backend that quantises activations as the method does.
inline constexpr const char* kInt8Backend = "llm_int8";

class Int8Weight final : public quant::Weight {
 public:
  /// @param weight [out_features, in_features], floating point; rounded to float16 first, as bitsandbytes does
  /// @throws DataError, NumericalError (see check_weight)
  explicit Int8Weight(const at::Tensor& weight);

  std::string format() const override { return "llm_int8"; }
  int64_t out_features() const override { return codes_.size(0); }
  int64_t in_features() const override { return codes_.size(1); }
  at::Tensor dequantise() const override;
  quant::BitCount bits() const override;
  std::unique_ptr<quant::Weight> to(at::Device device) const override;
  std::string needed_backend() const override { return kInt8Backend; }

  const at::Tensor& codes() const { return codes_; }  ///< [out_features, in_features] int8
  const at::Tensor& row_maxima() const {
    return row_maxima_;
  }  ///< [out_features] float32: weight = code * maximum / 127

 private:
  at::Tensor codes_, row_maxima_;
};

struct Int8Activations {
  at::Tensor codes;            ///< [tokens, in_features] int8; outlier columns are 0
  at::Tensor token_maxima;     ///< [tokens] float32, outliers left out
  at::Tensor outlier_columns;  ///< [number] int64, ascending
};

/// @param x [tokens, in_features]
/// @param threshold a column is an outlier if any token has |x| >= threshold there; 0: no outliers
Int8Activations quantise_activations(const at::Tensor& x, double threshold);

/// The product. What counts as an outlier depends on all tokens of the call: results change with how a text is cut up.
/// @param x [tokens, in_features] float32, rounded to float16 first
/// @return [tokens, out_features] float32
at::Tensor int8_linear(const Int8Weight& weight, const at::Tensor& x, double threshold);

}  // namespace aqlm_exp::scalar
