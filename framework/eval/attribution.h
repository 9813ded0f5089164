// Which layer costs what: each quantised linear alone in the otherwise unquantised model.
#pragma once

#include <string>
#include <vector>

#include "framework/eval/reference_logits.h"
#include "framework/eval/windows.h"
#include "framework/model/model.h"

namespace aqlm_exp::eval {

enum class SwapUnit {
  kLinear,  ///< one linear (weight and bias) at a time
  kBlock,   ///< one block at a time, norms and all: for methods that move scales between the parts of a block
};

struct Swap {
  std::string name;  ///< "model.layers.0.self_attn.q_proj", "model.layers.0"
  std::string role;  ///< "q_proj"; "block"
  int64_t block = 0;
  double kl = 0;  ///< KL(original ‖ original with this part swapped), nats per token, as Evaluation::kl
};

/// @param original  unquantised; gives the reference too. @param quantised  same shape
/// Hidden states in front of a block are computed once a window, and only the blocks behind a swap run again: about
/// half of one forward pass for each part.
/// @return in the order of the model's linears, or blocks. Linears and blocks that were not quantised are left out.
std::vector<Swap> swap_attribution(const model::Model& original, const model::Model& quantised, const WindowSet& set,
                                   SwapUnit unit);

}  // namespace aqlm_exp::eval
