// A weight matrix quantised to one small integer per weight, with a scale and a zero point per group: what RTN, GPTQ,
// AWQ and HQQ all end in. Holds the buffers as a checkpoint would store them, so that what is evaluated and what is
// counted are the same thing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "framework/quant/bit_count.h"

namespace aqlm_exp::scalar {

/// How codes lie in memory; decides the padding that the bit count includes.
enum class CodePacking {
  /// GPTQ and AWQ checkpoints: codes of one row as a stream of nbits-wide fields in int32 words, lowest bits first,
  /// each
  /// row padded to whole words; zero points of one group packed the same way along the outputs.
  kInt32Stream,
  /// hqq's bitpack.py: 8, 6 and 5 bits as bytes, 4, 2 and 1 bits filling a byte, ten 3-bit codes in an int32.
  kHqq,
};

/// weight[o, i] = scales[o, g] * (codes[o, i] - zero_points[o, g]), g = group of column i.
struct ScalarCode {
  at::Tensor codes;        ///< [out_features, in_features] uint8, each below 2^nbits
  at::Tensor scales;       ///< axis 1: [out_features, num_groups]; axis 0: [1, num_groups]; float16
  at::Tensor zero_points;  ///< shape of scales; uint8 (integer grids) or float16 (HQQ)
  int64_t nbits = 0;       ///< 1..8
  int64_t group_size = 0;  ///< weights per group (the last group of a row may be shorter), >= 1
  bool symmetric = false;  ///< every zero point is 2^(nbits-1) and none is stored
  /// 1: groups run along a row. 0: hqq's other layout, groups of weights that lie numel/group_size apart in the
  /// flattened matrix: columns of the matrix reshaped to [group_size, num_groups].
  int64_t axis = 1;
  CodePacking packing = CodePacking::kInt32Stream;
  at::Tensor g_idx;  ///< [in_features] int32, group of each column; absent: column / group_size

  int64_t out_features() const { return codes.size(0); }
  int64_t in_features() const { return codes.size(1); }
  /// The weight that the stored buffers stand for. @return [out_features, in_features] float32
  at::Tensor dequantise() const;
  /// Bits of every stored buffer, padding included; g_idx counts as other_bits. Symmetric codes store no zero points.
  quant::BitCount bits() const;
  double bits_per_weight() const { return bits().per_weight(); }
};

/// Checks shapes and ranges and rounds the float32 `scales` (and, for real-valued grids, `zero_points`) to float16.
/// @param codes [out_features, in_features], any dtype, integer-valued
/// @param zero_points integer-valued unless `integer_zero_points` is false
/// @throws NumericalError if a scale or zero point has no finite float16 value; InternalError if shapes disagree
ScalarCode make_scalar_code(const std::string& where, const at::Tensor& codes, const at::Tensor& scales,
                            const at::Tensor& zero_points, int64_t nbits, int64_t group_size, bool symmetric,
                            bool integer_zero_points);

/// Groups along a row of `in_features` weights; the last may be short. group_size -1 stands for the whole row.
int64_t num_row_groups(int64_t in_features, int64_t group_size);

/// @throws DataError unless weight is a non-empty matrix of finite floating-point numbers
void check_weight(const std::string& where, const at::Tensor& weight);
/// @throws ConfigError unless min_nbits <= nbits <= 8 and group_size is -1 or >= 1
void check_format(const std::string& where, int64_t nbits, int64_t group_size, int64_t min_nbits);

}  // namespace aqlm_exp::scalar
