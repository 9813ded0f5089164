// What differs between model families in config.json: defaults, attention windows, which linears carry a bias.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "framework/base/json_fields.h"
#include "framework/checkpoint/model_config.h"

namespace aqlm_exp::checkpoint {

/// Which layers attend through a sliding window, given that the config has one: design/checkpoints.md 4.
enum class WindowRule {
  kNone,           ///< the family has no windows
  kAll,            ///< every layer, whenever `sliding_window` is set (Mistral)
  kFromMaxWindow,  ///< layers >= max_window_layers, only with use_sliding_window (Qwen2, Qwen3)
};

/// Which biases the attention linears carry.
enum class AttentionBias {
  kQkv,         ///< q, k, v always, o never (Qwen2)
  kFromConfig,  ///< key `attention_bias`: q, k, v and o (Llama, Qwen3)
  kNone,
};

/// One family; the fallbacks are those of its transformers configuration class, for keys that a hub file may leave out.
struct Family {
  std::string_view model_type;
  double rope_theta;
  double rms_norm_eps;
  int64_t max_position_embeddings;
  int64_t head_dim;      ///< 0: hidden_size / num_heads
  int64_t num_kv_heads;  ///< 0: num_heads
  bool tie_word_embeddings;
  WindowRule windows;
  int64_t sliding_window;  ///< fallback of `sliding_window`; 0: none
  bool has_layer_types;    ///< `layer_types` overrides the window rule
  AttentionBias attention_bias;
  bool has_mlp_bias_key;
  bool qk_norm;
};

std::span<const Family> families();
/// @throws DataError (J-UNKNOWN) with the nearest names
const Family& family_of(std::string_view model_type, std::string_view where);

}  // namespace aqlm_exp::checkpoint
