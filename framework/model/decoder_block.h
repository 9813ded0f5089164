// One decoder block: attention and gated MLP with pre-norms, as Qwen2 has them (Llama and Mistral differ in biases).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "framework/model/linear.h"
#include "framework/model/rotary.h"

namespace aqlm_exp::model {

/// Keys and values of the tokens seen so far, for one block.
struct LayerCache {
  at::Tensor keys, values;  ///< [batch, num_kv_heads, capacity, head_dim] float32
};

struct BlockShape {
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  double rms_norm_eps = 1e-6;
};

/// RMSNorm, arXiv:1910.07467: x / √(mean(x²) + eps) · weight.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

class DecoderBlock {
 public:
  BlockShape shape;
  std::string name;  ///< "model.layers.0"
  Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  at::Tensor input_norm;           ///< [hidden]
  at::Tensor post_attention_norm;  ///< [hidden]

  /// Causal forward of whole sequences. Differentiable.
  /// @param hidden [batch, tokens, hidden_size] float32 → the same
  at::Tensor forward(const at::Tensor& hidden, const RotaryEmbedding& rotary) const;
  /// Forward of the next tokens: `start` are in `cache` already; those of `hidden` are added to it.
  at::Tensor forward_cached(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache& cache,
                            int64_t start) const;

  /// Attention alone: normed input → output of o_proj. What AWQ inspects for {q, k, v}.
  at::Tensor attention(const at::Tensor& normed, const RotaryEmbedding& rotary) const;
  /// MLP alone: normed input → output of down_proj.
  at::Tensor mlp(const at::Tensor& normed) const;

  /// q, k, v, o, gate, up, down.
  std::vector<Linear*> linears();
  std::vector<const Linear*> linears() const;
  /// Linears that share an input, in the order of computation: {q, k, v}, {o}, {gate, up}, {down}.
  std::vector<std::vector<Linear*>> stages();
  /// Norms and biases: trained along with the codes' parameters by block fine-tuning.
  std::vector<at::Tensor> dense_parameters();

 private:
  at::Tensor attend(const at::Tensor& normed, const RotaryEmbedding& rotary, LayerCache* cache, int64_t start) const;
};

}  // namespace aqlm_exp::model
