// Gemma 2: Gemma with soft-capping, norms on both sides and a window on every other layer. transformers 5.24
// configuration_gemma2.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family gemma2_family() {
  return {.model_type = "gemma2",
          .max_position_embeddings = 8192,
          .head_dim = 256,
          .num_kv_heads = 4,
          .tie_word_embeddings = true,
          .activation_key = "hidden_activation",
          .activation = "gelu_pytorch_tanh",
          .windows = WindowRule::kEven,
          .sliding_window = 4096,
          .has_layer_types = true,
          .attention_bias = AttentionBias::kFromConfig,
          .norm_adds_one = true,
          .sandwich_norms = true,
          .scales_embedding = true,
          .query_pre_attn_scalar = 256,
          .attention_softcap = 50.0,
          .logit_softcap = 30.0};
}

}  // namespace aqlm_exp::checkpoint
