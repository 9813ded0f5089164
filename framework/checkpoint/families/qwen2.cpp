// Qwen2 and Qwen2.5: biases on q, k, v. transformers 5.24 configuration_qwen2.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family qwen2_family() {
  return {.model_type = "qwen2",
          .max_position_embeddings = 32768,
          .num_kv_heads = 32,
          .windows = WindowRule::kFromMaxWindow,
          .sliding_window = 4096,
          .has_layer_types = true,
          .attention_bias = AttentionBias::kQkv};
}

}  // namespace aqlm_exp::checkpoint
