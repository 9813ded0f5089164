// Llama 1 to 3.x and what copies it (Yi, Vicuna, SmolLM, ...). transformers 5.24 configuration_llama.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family llama_family() {
  return {.model_type = "llama",
          .max_position_embeddings = 2048,
          .attention_bias = AttentionBias::kFromConfig,
          .has_mlp_bias_key = true};
}

}  // namespace aqlm_exp::checkpoint
