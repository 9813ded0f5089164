// Qwen3-MoE: norms on queries and keys, experts, none shared. transformers 5.24 configuration_qwen3_moe.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family qwen3_moe_family() {
  return {.model_type = "qwen3_moe",
          .max_position_embeddings = 32768,
          .num_kv_heads = 4,
          .windows = WindowRule::kAllIfUsed,
          .sliding_window = 4096,
          .attention_bias = AttentionBias::kFromConfig,
          .qk_norm = true,
          .moe = MoeFamily{.module = "mlp",
                           .gate_name = "gate_proj",
                           .up_name = "up_proj",
                           .down_name = "down_proj",
                           .experts_key = "num_experts",
                           .other_experts_key = "num_local_experts",
                           .size_key = "moe_intermediate_size",
                           .num_experts = 128,
                           .experts_per_token = 8,
                           .expert_size = 768,
                           .may_be_dense = true}};
}

}  // namespace aqlm_exp::checkpoint
