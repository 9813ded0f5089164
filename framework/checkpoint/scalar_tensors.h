// The tensors that stand for one scalar-quantised linear in each layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/checkpoint/model_config.h"

namespace aqlm_exp::checkpoint {

struct ScalarTensor {
  enum class Kind { kInt32, kByte, kFloat, kAny };
  std::string suffix;  ///< ".qweight"
  Kind kind = Kind::kInt32;
  std::vector<int64_t> shape;  ///< empty with kAny: not looked at
  bool required = true;
};

/// Why a linear of this shape cannot be stored so; empty if it can.
std::string scalar_shape_refusal(const ScalarLayout& layout, int64_t out_features, int64_t in_features);

/// gptq: qweight, qzeros, scales, g_idx; awq: qweight, qzeros, scales; hqq: W_q, scale, zero and what describes them.
/// @param layout of quant_method gptq, awq or hqq; the shape has no refusal
std::vector<ScalarTensor> scalar_tensors(const ScalarLayout& layout, int64_t out_features, int64_t in_features);

/// The same for a linear of our own format: packed_codes (a stream of nbits a row), scales, zero_points unless
/// symmetric, g_idx.
std::vector<ScalarTensor> own_scalar_tensors(const ScalarLayout& layout, int64_t out_features, int64_t in_features);

}  // namespace aqlm_exp::checkpoint
