// Mixtral: Mistral with experts. transformers 5.24 configuration_mixtral.py; stored names as on the hub.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family mixtral_family() {
  return {.model_type = "mixtral",
          .rope_theta = 1e6,
          .rms_norm_eps = 1e-5,
          .max_position_embeddings = 4096 * 32,
          .num_kv_heads = 8,
          .windows = WindowRule::kAll,
          .moe = MoeFamily{.module = "block_sparse_moe",
                           .gate_name = "w1",
                           .up_name = "w3",
                           .down_name = "w2",
                           .experts_key = "num_local_experts",
                           .other_experts_key = "num_experts",
                           .size_key = "intermediate_size",
                           .num_experts = 8,
                           .experts_per_token = 2,
                           .expert_size = 14336,
                           .always_normalises = true}};
}

}  // namespace aqlm_exp::checkpoint
