// Qwen3: norms on queries and keys, head_dim 128 whatever the hidden size. transformers 5.24 configuration_qwen3.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family qwen3_family() {
  return {.model_type = "qwen3",
          .max_position_embeddings = 32768,
          .head_dim = 128,
          .num_kv_heads = 32,
          .windows = WindowRule::kFromMaxWindow,
          .sliding_window = 4096,
          .has_layer_types = true,
          .attention_bias = AttentionBias::kFromConfig,
          .qk_norm = true};
}

}  // namespace aqlm_exp::checkpoint
