#include "tests/framework/support/real_layer.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "framework/base/rng.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::test {

quant::LayerProblem real_layer() {
  const c10::NoGradGuard no_grad;
  model::Model model = model::load_model(embedded_model(), at::kCPU);
  Rng rng(11);
  at::Tensor ids = at::empty({8, 256}, at::kLong);
  for (int64_t i = 0; i < ids.numel(); ++i) {
    ids.data_ptr<int64_t>()[i] = static_cast<int64_t>(rng.below(static_cast<uint64_t>(model.config.vocab_size)));
  }
  model::Linear& linear = model.blocks[1].k_proj;
  quant::LayerProblem problem{linear.weight->dequantise().to(at::kFloat).clone(), {}, linear.name};
  linear.observer = [&](const at::Tensor& x) {
    const at::Tensor tokens = x.reshape({-1, x.size(-1)}).to(at::kDouble);
    problem.xtx = at::matmul(tokens.t(), tokens) / static_cast<double>(tokens.size(0));
  };
  const at::Tensor hidden = model.blocks[0].forward(model.embed(ids), *model.rotary);
  model.blocks[1].forward(hidden, *model.rotary);
  problem.xtx = problem.xtx / problem.xtx.diagonal().mean();
  problem.xtx.diagonal().add_(0.1);
  problem.xtx = problem.xtx.to(at::kFloat);
  return problem;
}

}  // namespace aqlm_exp::test
