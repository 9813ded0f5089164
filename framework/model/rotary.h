// Rotary position embedding. Source: arXiv:2104.09864; halves rotated as in Hugging Face's Llama and Qwen2.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace aqlm_exp::model {

class RotaryEmbedding {
 public:
  /// Tables for positions 0..num_positions-1, made in float32 from float32 inverse frequencies as the reference does.
  RotaryEmbedding(int64_t head_dim, double theta, int64_t num_positions, at::Device device);
  /// @param x [batch, heads, tokens, head_dim] float32
  /// @param start position of the first token; start + tokens <= num_positions()
  at::Tensor apply(const at::Tensor& x, int64_t start) const;
  int64_t num_positions() const { return cos_.size(0); }

 private:
  at::Tensor cos_, sin_;  // [num_positions, head_dim]
};

}  // namespace aqlm_exp::model
