#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/method/additive_quantiser.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::method {
namespace {

std::unique_ptr<Method> make_method(const std::string& json) {
  const config::Node root = config::from_json(json, "test");
  config::Reader reader(root);
  return reader.variant<Method>("method.type", methods());
}

constexpr const char* kSmall =
    R"({"method":{"type":"aqlm"},"quant":{"num_codebooks":2,"nbits_per_codebook":4,"in_group_size":8},
  "codebook":{"type":"residual_kmeans","max_iter":10},"encoder":{"type":"beam_search"},"tuner":{"type":"adam","steps":20,"lr":0.001},
  "schedule":{"max_rounds":3}})";

Calibration some_calibration() { return {(at::arange(4 * 16) * 13 % 50).view({4, 16})}; }

double block_output_error(const model::Model& original, const model::Model& quantised) {
  const c10::NoGradGuard no_grad;
  const at::Tensor ids = some_calibration().input_ids;
  return (original.forward(ids) - quantised.forward(ids)).square().mean().item<double>();
}

TEST(Xtx, IsTheMeanOverTokensWhateverTheBatches) {
  const at::Tensor x = test::gaussian({3, 5, 6}, 1);
  XtxAccumulator whole, parts;
  whole.add(x);
  for (int64_t i = 0; i < 3; ++i) parts.add(x[i]);
  const at::Tensor flat = x.view({15, 6}).to(at::kDouble);
  const at::Tensor expected = at::matmul(flat.t(), flat) / 15;
  EXPECT_TRUE(at::allclose(whole.mean(), expected, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(parts.mean(), expected, 1e-5, 1e-6));
  EXPECT_EQ(parts.num_tokens(), 15);
  EXPECT_FALSE(XtxAccumulator().mean().defined());
}

TEST(Statistics, SeeTheInputsOfEachLinear) {
  const c10::NoGradGuard no_grad;
  model::Model model = test::tiny_model(1);
  model::DecoderBlock& block = model.blocks[0];
  const at::Tensor inputs = embed_calibration(model, some_calibration());
  const BlockStatistics statistics = collect_statistics(block, *model.rotary, inputs, block.stages());
  EXPECT_TRUE(at::allclose(statistics.outputs, block.forward(inputs, *model.rotary), 1e-5, 1e-5));
  const at::Tensor normed = model::rms_norm(inputs, block.input_norm, 1e-6).reshape({-1, 32}).to(at::kDouble);
  EXPECT_TRUE(at::allclose(statistics.xtx.at("k_proj"), at::matmul(normed.t(), normed) / 64, 1e-4, 1e-5));
  EXPECT_TRUE(statistics.xtx.at("q_proj").is_same(statistics.xtx.at("v_proj")));
  EXPECT_EQ(statistics.xtx.at("down_proj").size(0), 64);
  for (const model::Linear* linear : block.linears()) EXPECT_FALSE(linear->observer);
}

TEST(AdditiveQuantiser, LossFallsRoundAfterRound) {
  const config::Node root = config::from_json(kSmall, "test");
  config::Reader reader(root);
  const AdditiveQuantiser quantiser(reader);
  const quant::LayerProblem problem = test::correlated_layer(32, 64, 3);
  Rng rng(1);
  StageTimes times;
  const AdditiveResult result = quantiser.quantise(problem, rng, times);
  ASSERT_EQ(result.losses.size(), 4u);
  for (size_t i = 1; i < result.losses.size(); ++i) EXPECT_LT(result.losses[i], result.losses[i - 1]);
  EXPECT_NEAR(result.losses.back(), quant::output_error(result.weight->dequantise(), problem.weight, problem.xtx) / 32,
              1e-6 * result.losses.back());
}

TEST(AdditiveQuantiser, StopsAtTheTolerance) {
  const config::Node root = config::from_json(R"({"quant":{"num_codebooks":1,"nbits_per_codebook":3},
    "tuner":{"type":"none"},"schedule":{"max_rounds":50,"relative_mse_tolerance":0.5}})",
                                              "test");
  config::Reader reader(root);
  const AdditiveQuantiser quantiser(reader);
  Rng rng(1);
  StageTimes times;
  const AdditiveResult result = quantiser.quantise(test::correlated_layer(16, 32, 3), rng, times);
  // A round that does not halve the loss is the last one; no Adam step follows it.
  ASSERT_LT(result.losses.size(), 50u);
  const size_t n = result.losses.size();
  EXPECT_GE(result.losses[n - 1], 0.5 * result.losses[n - 2]);
}

TEST(AdditiveQuantiser, RefusesNanAndShapesThatDoNotTile) {
  const config::Node root = config::from_json(kSmall, "test");
  config::Reader reader(root);
  const AdditiveQuantiser quantiser(reader);
  Rng rng(1);
  StageTimes times;
  quant::LayerProblem problem = test::correlated_layer(4, 12, 3);
  EXPECT_THROW(quantiser.quantise(problem, rng, times), DataError);
  problem = test::correlated_layer(4, 16, 3);
  problem.weight[0][0] = std::nanf("");
  EXPECT_THROW(quantiser.quantise(problem, rng, times), DataError);
}

TEST(AdditiveQuantiser, TakesZeroRowsAndDeadColumns) {
  const config::Node root = config::from_json(kSmall, "test");
  config::Reader reader(root);
  const AdditiveQuantiser quantiser(reader);
  quant::LayerProblem problem = test::correlated_layer(16, 32, 3);
  problem.weight[2].zero_();
  problem.xtx.select(0, 5).zero_();
  problem.xtx.select(1, 5).zero_();
  Rng rng(1);
  StageTimes times;
  const AdditiveResult result = quantiser.quantise(problem, rng, times);
  EXPECT_TRUE(at::isfinite(result.weight->dequantise()).all().item<bool>());
  EXPECT_LT(result.weight->dequantise()[2].abs().max().item<double>(), 0.05);
}

TEST(Aqlm, ReplacesEveryLinearAndReportsIt) {
  const model::Model original = test::tiny_model(1);
  model::Model model = original.clone();
  Context context(7);
  make_method(kSmall)->quantise(model, some_calibration(), context);
  for (const model::Linear* linear : model.linears()) EXPECT_EQ(linear->weight->format(), "aqlm 2x4 g8");
  ASSERT_EQ(context.layers.size(), 14u);
  EXPECT_EQ(context.layers[13].role, "down_proj");
  EXPECT_EQ(context.layers[13].block, 1);
  EXPECT_GT(context.layers[0].metrics.at("rel_output_error"), 0);
  EXPECT_LT(context.layers[0].metrics.at("rel_output_error"), 1);
  // Stored precision: everything that is kept is fp16.
  const at::Tensor& norm = model.blocks[0].input_norm;
  EXPECT_TRUE(norm.equal(norm.to(at::kHalf).to(at::kFloat)));
}

TEST(Aqlm, IsDeterministicAndBlockFineTuningHelps) {
  const model::Model original = test::tiny_model(1);
  const auto quantise = [&](const std::string& json, uint64_t seed) {
    model::Model model = original.clone();
    Context context(seed);
    make_method(json)->quantise(model, some_calibration(), context);
    return model;
  };
  std::string tuned = kSmall;
  tuned.insert(tuned.size() - 1, R"(,"finetune":{"type":"block_mse","epochs":30,"batch_size":2,"lr":0.003})");
  const model::Model a = quantise(kSmall, 1), b = quantise(kSmall, 1);
  EXPECT_TRUE(a.blocks[1].down_proj.weight->dequantise().equal(b.blocks[1].down_proj.weight->dequantise()));
  EXPECT_LT(block_output_error(original, quantise(tuned, 1)), block_output_error(original, a));
}

}  // namespace
}  // namespace aqlm_exp::method
