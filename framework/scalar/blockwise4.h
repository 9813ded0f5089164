// bitsandbytes' 4-bit formats: blocks of the flattened weight, each divided by its largest absolute value and rounded
// to a fixed table of 16 numbers (NF4: quantiles of a normal distribution, arXiv:2305.14314 app. E; FP4: a 4-bit
// float). Double quantisation stores the block maxima in 8 bits. Source: bitsandbytes/functional.py,
// backends/default/ops.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "framework/quant/weight.h"

namespace aqlm_exp::scalar {

enum class Table4 { kNf4, kFp4 };

/// The number that each of the 16 codes stands for, in [-1, 1].
const std::array<float, 16>& table4_values(Table4 table);
/// bitsandbytes' signed dynamic 8-bit map (create_dynamic_map), ascending. @return [256] float32
at::Tensor dynamic_map8();

struct Blockwise4Options {
  Table4 table = Table4::kNf4;
  int64_t block_size = 64;       ///< a power of two, 32 to 4096; blocks run along the flattened weight, across rows
  bool double_quantise = false;  ///< block maxima as 8-bit codes of (maximum - mean of all) in blocks of 256
};

class Blockwise4Weight final : public quant::Weight {
 public:
  /// @param weight [out_features, in_features], floating point
  /// @throws DataError, NumericalError (see check_weight); ConfigError for other block sizes
  Blockwise4Weight(const at::Tensor& weight, const Blockwise4Options& options);

  std::string format() const override;  ///< "nf4 g64", "fp4-dq g64"
  int64_t out_features() const override { return codes_.size(0); }
  int64_t in_features() const override { return codes_.size(1); }
  at::Tensor dequantise() const override;
  quant::BitCount bits() const override;
  std::unique_ptr<quant::Weight> to(at::Device device) const override;

  const at::Tensor& codes() const { return codes_; }  ///< [out_features, in_features] uint8, below 16
  Table4 table() const { return options_.table; }
  int64_t block_size() const { return options_.block_size; }
  /// The largest |weight| of each block, as stored: [num_blocks] float32
  at::Tensor block_maxima() const;

 private:
  Blockwise4Options options_;
  at::Tensor codes_;         // [out_features, in_features] uint8
  at::Tensor maxima_;        // [num_blocks] float32; with double quantisation undefined, and instead:
  at::Tensor maxima_codes_;  // [num_blocks] uint8, into dynamic_map8()
  at::Tensor maxima_scale_;  // [ceil(num_blocks / 256)] float32
  at::Tensor maxima_mean_;   // [] float32
};

}  // namespace aqlm_exp::scalar
