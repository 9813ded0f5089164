// The tensors a model must have, from its config alone, and whether a checkpoint has them: asked before anything is
// allocated, since a missing weight must not become a random one (design/checkpoints.md 13).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "framework/checkpoint/checkpoint.h"
#include "framework/checkpoint/model_config.h"

namespace aqlm_exp::checkpoint {

/// How the experts of a layer are stored.
enum class ExpertLayout {
  kSeparate,  ///< one tensor a linear and expert, as on the hub: "mlp.experts.3.gate_proj.weight" [out, in]
  kFused,     ///< all experts in two tensors, as transformers 5 holds them: "mlp.experts.gate_up_proj"
              ///< [experts, 2 · size, hidden] (gate first) and "mlp.experts.down_proj" [experts, hidden, size]
};

struct ExpectedTensor {
  std::string name;            ///< "model.layers.0.self_attn.q_proj.weight"
  std::vector<int64_t> shape;  ///< linears: [out_features, in_features]
  /// A linear of a block: it may be stored as `.codes`, `.codebooks` and `.scales` when the config says AQLM.
  bool quantisable = false;
};

/// Every tensor of the model in the order of its forward pass. With tied embeddings there is no lm_head.weight.
std::vector<ExpectedTensor> expected_tensors(const ModelConfig& config, ExpertLayout layout = ExpertLayout::kSeparate);

/// "model.layers.3.mlp": where the router and the experts of a layer are stored. transformers 5 keeps fused experts
/// under "mlp" in every family.
std::string moe_module(const ModelConfig& config, int64_t layer, ExpertLayout layout);

/// What verify_checkpoint found out.
struct CheckpointSummary {
  /// False: logits come from model.embed_tokens.weight. True: lm_head.weight is stored and used; a stored lm_head wins
  /// over tie_word_embeddings (design/checkpoints.md 3).
  bool has_lm_head = false;
  ExpertLayout experts = ExpertLayout::kSeparate;
  std::vector<std::string> quantised;  ///< module paths ("model.layers.0.mlp.up_proj") stored as AQLM codes
  std::vector<std::string> extra;      ///< tensors the model does not know; stored rotary buffers are not counted
};

/// Checks names, shapes and types of all tensors; extra ones are named in a warning. Reads no tensor data.
/// @throws DataError (J-MISMATCH) naming the tensor: missing, another shape, a type that cannot hold it, both dense and
///         quantised, or codes without `quantization_config`
CheckpointSummary verify_checkpoint(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace aqlm_exp::checkpoint
