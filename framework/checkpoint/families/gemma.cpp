// Gemma 1: scaled embeddings, norms of 1 + weight, tanh GELU. transformers 5.24 configuration_gemma.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family gemma_family() {
  return {.model_type = "gemma",
          .max_position_embeddings = 8192,
          .head_dim = 256,
          .num_kv_heads = 16,
          .tie_word_embeddings = true,
          .activation = "gelu_pytorch_tanh",
          .gelu_is_tanh = true,
          .attention_bias = AttentionBias::kFromConfig,
          .norm_adds_one = true,
          .scales_embedding = true};
}

}  // namespace aqlm_exp::checkpoint
