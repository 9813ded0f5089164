// Phi-3, Phi-3.5 and Phi-4: fused projections, longrope, part of a head rotated. transformers 5.24
// configuration_phi3.py.
#include "framework/checkpoint/families.h"

namespace aqlm_exp::checkpoint {

Family phi3_family() {
  return {.model_type = "phi3",
          .rms_norm_eps = 1e-5,
          .max_position_embeddings = 4096,
          .windows = WindowRule::kAll,
          .fused_projections = true};
}

}  // namespace aqlm_exp::checkpoint
