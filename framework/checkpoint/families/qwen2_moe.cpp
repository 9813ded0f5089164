// Qwen1.5-MoE and Qwen2-MoE: many small experts and a shared one. transformers 5.24 configuration_qwen2_moe.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family qwen2_moe_family() {
  return {.model_type = "qwen2_moe",
          .max_position_embeddings = 32768,
          .num_kv_heads = 16,
          .windows = WindowRule::kEvenBelowMax,
          .sliding_window = 4096,
          .has_layer_types = true,
          .attention_bias = AttentionBias::kQkvFromConfig,
          .moe = MoeFamily{.module = "mlp",
                           .gate_name = "gate_proj",
                           .up_name = "up_proj",
                           .down_name = "down_proj",
                           .experts_key = "num_experts",
                           .other_experts_key = "num_local_experts",
                           .size_key = "moe_intermediate_size",
                           .num_experts = 60,
                           .experts_per_token = 4,
                           .expert_size = 1408,
                           .shared_size = 5632,
                           .may_be_dense = true}};
}

}  // namespace aqlm_exp::checkpoint
