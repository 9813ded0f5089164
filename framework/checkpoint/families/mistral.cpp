// Mistral: Llama with a sliding window. transformers 5.24 configuration_mistral.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family mistral_family() {
  return {.model_type = "mistral",
          .max_position_embeddings = 4096 * 32,
          .num_kv_heads = 8,
          .windows = WindowRule::kAll,
          .sliding_window = 4096};
}

}  // namespace aqlm_exp::checkpoint
