// Rotary position embedding and its scalings. Source: arXiv:2104.09864; halves rotated as in Hugging Face's Llama and
// Qwen2. Scalings as in transformers 5.24 modeling_rope_utils.py: linear, dynamic NTK, YaRN (arXiv:2309.00071), Llama
// 3.1's, LongRoPE (arXiv:2402.13753).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "framework/checkpoint/model_config.h"

namespace aqlm_exp::model {

class RotaryEmbedding {
 public:
  /// Without scaling, for positions 0..num_positions-1.
  RotaryEmbedding(int64_t head_dim, double theta, int64_t num_positions, at::Device device);
  /// @param max_position_embeddings of the model; scaled kinds hold factor · original_max_position_embeddings positions
  ///        if that is more
  RotaryEmbedding(const checkpoint::RopeConfig& rope, int64_t head_dim, int64_t max_position_embeddings,
                  at::Device device);
  ~RotaryEmbedding();

  /// Rotates the first rotary_dim() numbers of each head and leaves the rest. Differentiable.
  /// @param x [batch, heads, tokens, head_dim]
  /// @param start position of the first token. Dynamic NTK and LongRoPE depend on the length of the whole call,
  ///        start + tokens; keys in a cache keep the rotation they were given, as in transformers
  /// @throws DataError if start + tokens > num_positions()
  at::Tensor apply(const at::Tensor& x, int64_t start) const;

  /// The same for one token a sequence. @param x [batch, heads, 1, head_dim]; positions [batch] int64, each below
  /// `length`, which takes the place of the whole call's
  at::Tensor apply_rows(const at::Tensor& x, const at::Tensor& positions, int64_t length) const;

  /// Cosines and sines, [at least `length`, rotary_dim] float32, as a call that ends at position `length` uses them.
  /// They are made when first asked for and kept; safe to call from several threads.
  std::pair<at::Tensor, at::Tensor> tables(int64_t length) const;
  int64_t num_positions() const { return num_positions_; }
  int64_t rotary_dim() const { return rotary_dim_; }

 private:
  struct Cache;

  at::Tensor rotate(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) const;

  at::Tensor inverse_frequencies(int64_t length) const;

  checkpoint::RopeConfig rope_;
  int64_t rotary_dim_;
  int64_t max_position_embeddings_;
  int64_t num_positions_;
  double attention_factor_;
  at::Device device_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace aqlm_exp::model
