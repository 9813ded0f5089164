#include "framework/tuner/tuner.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/rng.h"
#include "framework/tuner/adam_state.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::tuner {
namespace {

quant::AdditiveWeight some_weight(const quant::CodeSpec& spec, int64_t out_features, int64_t in_features) {
  Rng rng(3);
  at::Tensor codes =
      at::empty({out_features / spec.out_group_size, in_features / spec.in_group_size, spec.num_codebooks}, at::kInt);
  for (int64_t i = 0; i < codes.numel(); ++i) {
    codes.data_ptr<int32_t>()[i] = static_cast<int32_t>(rng.below(static_cast<uint64_t>(spec.codebook_size())));
  }
  return quant::AdditiveWeight(
      spec, codes,
      test::gaussian({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}, 4),
      at::ones({out_features / spec.out_group_size, 1, 1, 1}));
}

TEST(AdamTuner, GradientMatchesAutograd) {
  // One step of Adam from zero state moves each entry by lr · sign(gradient) (beta1 = 0): so the first step shows the
  // gradient's sign, and a tiny eps the entries whose gradient is not zero.
  const quant::CodeSpec spec{2, 2, 4, 2};
  const quant::LayerProblem problem = test::correlated_layer(4, 8, 6);
  quant::AdditiveWeight weight = some_weight(spec, 4, 8);
  const at::Tensor books = weight.codebooks().clone().requires_grad_(true);
  const at::Tensor scales = weight.scales().clone().requires_grad_(true);
  const at::Tensor d =
      (quant::AdditiveWeight(spec, weight.codes(), books, scales).dequantise() - problem.weight).to(at::kDouble);
  (at::matmul(d, problem.xtx) * d).sum().div(4.0).backward();

  const at::Tensor books_before = weight.codebooks().clone(), scales_before = weight.scales().clone();
  test::build(tuners(), R"({"type":"adam","steps":1,"lr":0.001})")->start(problem, weight)->tune();
  EXPECT_TRUE(at::allclose(weight.codebooks(), books_before - 0.001 * books.grad().sign(), 0, 1e-6));
  EXPECT_TRUE(at::allclose(weight.scales(), scales_before - 0.001 * scales.grad().sign(), 0, 1e-6));
}

TEST(AdamTuner, LowersTheLossRoundAfterRound) {
  const quant::LayerProblem problem = test::correlated_layer(16, 32, 7);
  quant::AdditiveWeight weight = some_weight({2, 3, 8, 1}, 16, 32);
  const auto tuning = test::build(tuners(), R"({"type":"adam","steps":50,"lr":0.01})")->start(problem, weight);
  double last = quant::output_error(weight.dequantise(), problem.weight, problem.xtx);
  for (int round = 0; round < 3; ++round) {
    tuning->tune();
    const double now = quant::output_error(weight.dequantise(), problem.weight, problem.xtx);
    EXPECT_LT(now, last);
    last = now;
  }
}

TEST(Adam, MatchesTheFormulasWrittenOut) {
  const at::Tensor x = at::tensor({1.0, -2.0}, at::kDouble);
  Adam adam({x}, {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .amsgrad = true});
  double m[2] = {0, 0}, v[2] = {0, 0}, largest[2] = {0, 0}, expected[2] = {1.0, -2.0};
  for (int t = 1; t <= 5; ++t) {
    const at::Tensor gradient = at::tensor({2.0 / t, -1.0 * (t % 2)}, at::kDouble);
    adam.step({gradient});
    for (int i = 0; i < 2; ++i) {
      const double g = gradient[i].item<double>();
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.95 * v[i] + 0.05 * g * g;
      largest[i] = std::max(largest[i], v[i]);
      expected[i] -= 0.1 * (m[i] / (1 - std::pow(0.9, t))) / (std::sqrt(largest[i] / (1 - std::pow(0.95, t))) + 1e-8);
      EXPECT_NEAR(x[i].item<double>(), expected[i], 1e-12);
    }
  }
}

TEST(NoTuner, ChangesNothing) {
  const quant::LayerProblem problem = test::correlated_layer(4, 8, 6);
  quant::AdditiveWeight weight = some_weight({1, 2, 4, 1}, 4, 8);
  const at::Tensor before = weight.dequantise();
  test::build(tuners(), R"({"type":"none"})")->start(problem, weight)->tune();
  EXPECT_TRUE(before.equal(weight.dequantise()));
}

}  // namespace
}  // namespace aqlm_exp::tuner
