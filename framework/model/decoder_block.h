// One decoder block of any family: attention and a gated MLP or a mixture of experts, between norms. What differs
// between families is data (BlockShape, and which of the tensors below are there), not code.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "framework/checkpoint/model_config.h"
#include "framework/model/kv_cache.h"
#include "framework/model/linear.h"
#include "framework/model/moe.h"
#include "framework/model/rotary.h"

namespace aqlm_exp::model {

struct BlockShape {
  int64_t num_heads = 0, num_kv_heads = 0, head_dim = 0;
  double rms_norm_eps = 1e-6;
  int64_t window = 0;            ///< attention window in tokens, the token itself counted; 0: none
  double attention_scale = 0;    ///< 0: 1 / √head_dim
  double attention_softcap = 0;  ///< 0: none
  checkpoint::Activation activation = checkpoint::Activation::kSilu;
};

/// RMSNorm, arXiv:1910.07467: x / √(mean(x²) + eps) · weight, computed in float32. A float32 weight on half-precision x
/// is applied before the result is rounded (Gemma), another one after it (Llama).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

class DecoderBlock {
 public:
  BlockShape shape;
  std::string name;  ///< "model.layers.0"
  /// Either q_proj, k_proj, v_proj or, fused, qkv_proj (rows of q, then k, then v); the others have no weight.
  Linear q_proj, k_proj, v_proj, qkv_proj, o_proj;
  /// Either gate_proj and up_proj or, fused, gate_up_proj (rows of gate, then up); none of them with experts.
  Linear gate_proj, up_proj, gate_up_proj, down_proj;
  Moe moe;                         ///< empty() in a block with an MLP
  at::Tensor input_norm;           ///< [hidden]: before attention
  at::Tensor post_attention_norm;  ///< [hidden]: before the MLP; with sandwich norms: on the output of attention
  at::Tensor pre_mlp_norm;         ///< [hidden] with sandwich norms (Gemma-2), otherwise undefined: before the MLP
  at::Tensor post_mlp_norm;        ///< [hidden] with sandwich norms, otherwise undefined: on the output of the MLP
  at::Tensor q_norm, k_norm;       ///< [head_dim] on each head of queries and keys, or undefined (Qwen3)

  bool has_fused_projections() const { return qkv_proj.weight != nullptr; }
  bool has_sandwich_norms() const { return pre_mlp_norm.defined(); }
  /// The norm whose output the MLP reads.
  const at::Tensor& mlp_norm() const { return has_sandwich_norms() ? pre_mlp_norm : post_attention_norm; }
  at::Tensor& mlp_norm() { return has_sandwich_norms() ? pre_mlp_norm : post_attention_norm; }

  /// Causal forward of whole sequences. Differentiable.
  /// @param hidden [batch, tokens, hidden_size] in the model's dtype → the same
  at::Tensor forward(const at::Tensor& hidden, const RotaryEmbedding& rotary) const;
  /// Forward of the next tokens: those of `hidden` are added to `cache` behind what `place` says is there.
  at::Tensor forward_cached(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache& cache,
                            const CachePlace& place) const;

  /// Attention alone: normed input → output of o_proj. What AWQ inspects for {q, k, v}.
  at::Tensor attention(const at::Tensor& normed, const RotaryEmbedding& rotary) const;
  /// What the MLP reads: hidden states of the block's input → [batch, tokens, hidden_size], normed.
  at::Tensor mlp_input(const at::Tensor& hidden, const RotaryEmbedding& rotary) const;
  /// MLP or experts alone: normed input → output of down_proj.
  at::Tensor mlp(const at::Tensor& normed) const;
  at::Tensor activate(const at::Tensor& x) const;

  /// forward() in parts, each from what the parts before gave: add_mlp(h, gated(mlp_normed(h))) with
  /// h = add_attention(hidden, mix(attention_normed(hidden))). What q, k, v, o, gate, up and down read lies between
  /// them, so that calibration can stop there and go on. gated() and add_mlp() are those of a block without experts.
  /// @param hidden [batch, tokens, hidden_size]: of the block's input → what q, k, v read
  at::Tensor attention_normed(const at::Tensor& hidden) const;
  /// @param normed [batch, tokens, hidden_size] → what o_proj reads, [batch, tokens, num_heads * head_dim]
  at::Tensor mix(const at::Tensor& normed, const RotaryEmbedding& rotary) const;
  /// @param mixed as from mix() → hidden states between attention and MLP
  at::Tensor add_attention(const at::Tensor& hidden, const at::Tensor& mixed) const;
  /// @param h as from add_attention() → what gate and up read, or the router and its experts
  at::Tensor mlp_normed(const at::Tensor& h) const;
  /// @param normed as from mlp_normed() → what down_proj reads, [batch, tokens, intermediate_size]
  at::Tensor gated(const at::Tensor& normed) const;
  /// @param gated as from gated() → the block's output
  at::Tensor add_mlp(const at::Tensor& h, const at::Tensor& gated) const;

  /// Every quantisable linear, in the order of computation: q, k, v, o, gate, up, down, or what the block has instead.
  std::vector<Linear*> linears();
  std::vector<const Linear*> linears() const;
  /// Linears that share an input, in the order of computation: {q, k, v}, {o}, {gate, up}, {down}; with experts the
  /// last two once for each of them, then for the shared one.
  std::vector<std::vector<Linear*>> stages();
  /// Norms, biases and a shared expert's gate: trained along with the codes' parameters by block fine-tuning. The
  /// router is left alone.
  std::vector<at::Tensor> dense_parameters();
  /// The same tensors, those of the router too, to be replaced or converted one by one.
  std::vector<at::Tensor*> dense_tensors();
  std::vector<const at::Tensor*> dense_tensors() const;

 private:
  at::Tensor mix_cached(const at::Tensor& normed, const RotaryEmbedding& rotary, LayerCache* cache,
                        const CachePlace& place) const;
  at::Tensor add_fed(const at::Tensor& h, const at::Tensor& fed) const;
  at::Tensor after_attention(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache* cache,
                             const CachePlace& place) const;
  at::Tensor run(const at::Tensor& hidden, const RotaryEmbedding& rotary, LayerCache* cache,
                 const CachePlace& place) const;
};

}  // namespace aqlm_exp::model
