#include "framework/model/moe.h"

#include <ATen/ATen.h>

namespace aqlm_exp::model {

Routing Moe::route(const at::Tensor& tokens) const {
  const at::Tensor scores = at::softmax(at::linear(tokens, router), -1, at::kFloat);  // [tokens, num_experts]
  auto [weights, chosen] = scores.topk(experts_per_token, -1);
  if (normalise_top_k) weights = weights / weights.sum(-1, /*keepdim=*/true);
  return {weights.to(tokens.scalar_type()), chosen};
}

at::Tensor Moe::forward(const at::Tensor& x, const std::function<at::Tensor(const at::Tensor&)>& activation) const {
  const auto run = [&](const Expert& expert, const at::Tensor& rows) {
    return [&] {
      const std::vector<at::Tensor> halves = forward_together({&expert.gate_proj, &expert.up_proj}, rows);
      return expert.down_proj.forward(activation(halves[0]) * halves[1]);
    }();
  };
  const at::Tensor tokens = x.reshape({-1, x.size(-1)});  // [num_tokens, hidden_size]
  const Routing routing = route(tokens);
  at::Tensor out = at::zeros_like(tokens);
  for (size_t e = 0; e < experts.size(); ++e) {
    const at::Tensor place = (routing.experts == static_cast<int64_t>(e)).nonzero();  // [routed, 2]: token, slot
    const at::Tensor rows = place.select(1, 0), slots = place.select(1, 1);
    at::Tensor y;  // [routed, hidden_size]
    if (show_all_tokens) {
      y = run(experts[e], tokens).index_select(0, rows);
    } else if (rows.numel() > 0) {
      y = run(experts[e], tokens.index_select(0, rows));
    } else {
      continue;
    }
    const at::Tensor weights = routing.weights.index({rows, slots}).unsqueeze(1);  // [routed, 1]
    out = out.index_add(0, rows, y * weights);
  }
  if (shared) out = out + at::sigmoid(at::linear(tokens, shared_gate)) * run(*shared, tokens);
  return out.view(x.sizes());
}

}  // namespace aqlm_exp::model
