// Scaled dot-product attention with what families add to it: a sliding window, a soft cap, another scale.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace aqlm_exp::model {

struct AttentionRule {
  double scale = 1.0;    ///< scores are queries · keys · scale
  int64_t window = 0;    ///< a token sees itself and the window - 1 tokens before it; 0: all before it
  double softcap = 0.0;  ///< c · tanh(score / c), arXiv:2408.00118 §2; 0: none
};

/// Causal attention; key heads are shared by consecutive query heads (arXiv:2305.13245). Differentiable.
/// @param queries [batch, heads, tokens, head_dim]; the last token is that of the last key
/// @param keys, values [batch, kv_heads, start + tokens, head_dim], same dtype
/// @return [batch, heads, tokens, head_dim]
at::Tensor attend(const at::Tensor& queries, at::Tensor keys, at::Tensor values, const AttentionRule& rule);

/// One token a sequence, sequences of different lengths.
/// @param queries [batch, heads, 1, head_dim]
/// @param keys, values [batch, kv_heads, capacity, head_dim], the new token's among them
/// @param positions [batch] int64: of the new tokens; what lies behind is not seen
/// @param length the largest position + 1
at::Tensor attend_rows(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values,
                       const at::Tensor& positions, int64_t length, const AttentionRule& rule);

}  // namespace aqlm_exp::model
