// A mixture of experts in place of a block's MLP. Routing as in Mixtral (arXiv:2401.04088) and Qwen-MoE: softmax over
// all experts, then the top k, then their weights made to sum to one where the family does so.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "framework/model/linear.h"

namespace aqlm_exp::model {

/// One gated MLP.
struct Expert {
  Linear gate_proj, up_proj, down_proj;
};

/// The experts a token is sent to.
struct Routing {
  at::Tensor weights;  ///< [tokens, experts_per_token] in the dtype of the tokens
  at::Tensor experts;  ///< [tokens, experts_per_token] int64
};

struct Moe {
  at::Tensor router;  ///< [num_experts, hidden_size]; never quantised: its rounding would send tokens elsewhere
  std::vector<Expert> experts;
  std::optional<Expert> shared;  ///< sees every token
  at::Tensor shared_gate;        ///< [1, hidden_size]: how much of the shared expert; undefined without one
  int64_t experts_per_token = 0;
  bool normalise_top_k = false;
  /// Calibration: every expert is shown every token (and its observers see them); only the routed ones count in the
  /// output. Costs num_experts / experts_per_token times the work.
  bool show_all_tokens = false;

  bool empty() const { return experts.empty(); }
  /// @param tokens [num_tokens, hidden_size]
  Routing route(const at::Tensor& tokens) const;
  /// @param x [..., hidden_size] → the same. Differentiable.
  /// @param activation applied to what gate_proj gives
  at::Tensor forward(const at::Tensor& x, const std::function<at::Tensor(const at::Tensor&)>& activation) const;
};

}  // namespace aqlm_exp::model
