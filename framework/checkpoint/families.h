// What differs between model families, as data: defaults of config.json, attention windows, biases, norms, how
// projections are stored, experts. Reading a config, checking a checkpoint, loading and the forward pass are written
// once and follow this description. A new family is one file in families/ (docs/families.md).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "framework/base/json_fields.h"
#include "framework/checkpoint/model_config.h"

namespace aqlm_exp::checkpoint {

/// Which layers attend through a sliding window, given that the config has one: design/checkpoints.md 4.
enum class WindowRule {
  kNone,           ///< the family has no windows
  kAll,            ///< every layer, whenever `sliding_window` is set (Mistral, Mixtral, Phi-3)
  kAllIfUsed,      ///< every layer, only with use_sliding_window (Qwen3-MoE)
  kFromMaxWindow,  ///< layers >= max_window_layers, only with use_sliding_window (Qwen2, Qwen3)
  kEvenBelowMax,   ///< even layers < max_window_layers, only with use_sliding_window (Qwen2-MoE)
  kEven,           ///< even layers (Gemma-2)
};

/// Which biases the attention linears carry.
enum class AttentionBias {
  kNone,
  kQkv,            ///< q, k, v always, o never (Qwen2)
  kQkvFromConfig,  ///< key `qkv_bias`, true if absent: q, k, v, never o (Qwen2-MoE)
  kFromConfig,     ///< key `attention_bias`: q, k, v and o (Llama, Qwen3, Gemma)
};

/// A mixture of experts in place of the MLP.
struct MoeFamily {
  std::string_view module;     ///< "mlp" or "block_sparse_moe": where router and experts are stored
  std::string_view gate_name;  ///< names of an expert's three linears
  std::string_view up_name;
  std::string_view down_name;
  std::string_view experts_key;        ///< number of experts in a hub config
  std::string_view other_experts_key;  ///< the same as another generation of transformers writes it; may be empty
  std::string_view size_key;           ///< intermediate size of one expert
  int64_t num_experts = 0;             ///< fallbacks
  int64_t experts_per_token = 0;
  int64_t expert_size = 0;
  int64_t shared_size = 0;         ///< fallback of shared_expert_intermediate_size; 0: no shared expert
  bool always_normalises = false;  ///< weights of the chosen experts sum to one; otherwise key norm_topk_prob
  bool may_be_dense = false;       ///< keys decoder_sparse_step and mlp_only_layers
};

/// One family; the fallbacks are those of its transformers configuration class, for keys that a hub file may leave out.
struct Family {
  std::string_view model_type;
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-6;
  int64_t max_position_embeddings = 2048;
  int64_t head_dim = 0;      ///< 0: hidden_size / num_heads
  int64_t num_kv_heads = 0;  ///< 0: num_heads
  bool tie_word_embeddings = false;
  std::string_view activation_key = "hidden_act";
  std::string_view activation = "silu";
  bool gelu_is_tanh = false;  ///< "gelu" means the tanh form (old Gemma files)
  WindowRule windows = WindowRule::kNone;
  int64_t sliding_window = 0;    ///< fallback of `sliding_window`; 0: none
  bool has_layer_types = false;  ///< `layer_types` overrides the window rule
  AttentionBias attention_bias = AttentionBias::kNone;
  bool has_mlp_bias_key = false;
  bool qk_norm = false;               ///< RMS norm over head_dim on queries and keys
  bool fused_projections = false;     ///< one qkv_proj and one gate_up_proj (Phi-3)
  bool norm_adds_one = false;         ///< a norm multiplies by 1 + weight (Gemma)
  bool sandwich_norms = false;        ///< norms before and after attention and MLP (Gemma-2)
  bool scales_embedding = false;      ///< embeddings are multiplied by √hidden_size (Gemma)
  int64_t query_pre_attn_scalar = 0;  ///< fallback of the key: attention divides by its root; 0: by that of head_dim
  double attention_softcap = 0;       ///< fallback of attn_logit_softcapping; 0: the family has none
  double logit_softcap = 0;           ///< fallback of final_logit_softcapping
  std::optional<MoeFamily> moe = std::nullopt;
};

// One function a family, each in a file of its own.
Family gemma_family();
Family gemma2_family();
Family llama_family();
Family mistral_family();
Family mixtral_family();
Family phi3_family();
Family qwen2_family();
Family qwen2_moe_family();
Family qwen3_family();
Family qwen3_moe_family();

std::span<const Family> families();
/// @throws DataError (J-UNKNOWN) with the nearest names
const Family& family_of(std::string_view model_type, std::string_view where);

}  // namespace aqlm_exp::checkpoint
