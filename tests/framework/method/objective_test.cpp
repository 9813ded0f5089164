// Objectives: moments, damping, correction, token weights, and the whole recipe on a small model.
#include "framework/method/objective.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "framework/method/stage_inputs.h"
#include "framework/method/token_weights.h"
#include "framework/model/model.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::method {
namespace {

Calibration some_calibration() { return {(at::arange(4 * 16) * 13 % 50).view({4, 16})}; }

TEST(Moments, AreWeightedMeansOverTokensWhateverTheBatches) {
  const at::Tensor x = test::gaussian({3, 5, 6}, 1), float_x = test::gaussian({3, 5, 6}, 2);
  const at::Tensor weights = test::gaussian({3, 5}, 3).square();
  MomentAccumulator whole, parts;
  whole.add(x, float_x, weights);
  for (int64_t i = 0; i < 3; ++i) parts.add(x[i], float_x[i], weights[i]);
  const at::Tensor flat = x.view({15, 6}).to(at::kDouble), other = float_x.view({15, 6}).to(at::kDouble);
  const at::Tensor weighted = flat * weights.view({15, 1});
  for (const MomentAccumulator* sums : {&whole, &parts}) {
    EXPECT_TRUE(at::allclose(sums->mean().xtx, at::matmul(flat.t(), weighted) / 15, 1e-5, 1e-6));
    EXPECT_TRUE(at::allclose(sums->mean().mismatch, at::matmul((other - flat).t(), weighted) / 15, 1e-5, 1e-6));
  }
  EXPECT_FALSE(MomentAccumulator().mean().xtx.defined());
}

TEST(Moments, OfManyColumnsAreWholeAndSymmetricThoughHalfIsComputed) {
  for (const int64_t columns : {127, 256, 301, 700}) {  // one panel, two, two of unequal width, four
    const at::Tensor x = test::gaussian({50, columns}, 1), weights = test::gaussian({50}, 3).square();
    MomentAccumulator sums;
    sums.add(x, {}, weights);
    const at::Tensor wide = x.to(at::kDouble), xtx = sums.mean().xtx;
    EXPECT_TRUE(at::allclose(xtx, at::matmul(wide.t(), wide * weights.view({50, 1})) / 50, 1e-5, 1e-5)) << columns;
    EXPECT_TRUE(xtx.equal(xtx.t())) << columns;
  }
}

TEST(Objective, AtItsDefaultsLeavesTheProblemAsItIs) {
  const quant::LayerProblem layer = test::correlated_layer(4, 8, 1);
  const quant::LayerProblem problem = make_problem(layer.weight, {layer.xtx, {}}, {}, "x");
  EXPECT_TRUE(problem.weight.is_same(layer.weight));
  EXPECT_TRUE(problem.xtx.is_same(layer.xtx));
}

TEST(Objective, DampsAndCorrectsByTheFormulas) {
  const quant::LayerProblem layer = test::correlated_layer(4, 8, 1);
  const at::Tensor xtx = layer.xtx.to(at::kDouble), mismatch = 0.1 * test::gaussian({8, 8}, 2).to(at::kDouble);
  const ObjectiveOptions options{.damping = 0.1, .mismatch = 0.5, .mismatch_damping = 0.03};
  const quant::LayerProblem problem = make_problem(layer.weight, {xtx, mismatch}, options, "x");
  const double mean = xtx.diagonal().mean().item<double>();
  EXPECT_TRUE(at::allclose(problem.xtx.to(at::kDouble), xtx / mean + 0.1 * at::eye(8), 1e-6, 1e-6));
  const at::Tensor inverse = at::linalg_inv(xtx + 0.03 * mean * at::eye(8));
  const at::Tensor w = layer.weight.to(at::kDouble);
  EXPECT_TRUE(
      at::allclose(problem.weight.to(at::kDouble), w + 0.5 * at::matmul(at::matmul(w, mismatch), inverse), 1e-5, 1e-6));
}

TEST(Objective, FullCorrectionIsTheBestTargetForTheInputsThatAreThere) {
  // argmin over V of Σ |W x_float − V x|² is W (Σ x_float xᵀ)(Σ x xᵀ)⁻¹: what α = 1 without damping gives.
  const at::Tensor x = test::gaussian({200, 6}, 1);
  const at::Tensor float_x = x + 0.3 * test::gaussian({200, 6}, 2), w = test::gaussian({3, 6}, 3);
  MomentAccumulator sums;
  sums.add(x, float_x);
  const quant::LayerProblem problem = make_problem(w, sums.mean(), {.mismatch = 1.0, .mismatch_damping = 0.0}, "x");
  const at::Tensor best = at::matmul(at::linalg_pinv(x), at::matmul(float_x, w.t())).t();
  EXPECT_TRUE(at::allclose(problem.weight, best, 1e-3, 1e-4));
}

TEST(Objective, OfALinearThatNoTokenReachesIsPlainDistance) {
  const at::Tensor zero = at::zeros({8, 8}, at::kDouble), w = test::gaussian({3, 8}, 3);
  const quant::LayerProblem problem = make_problem(w, {zero, zero}, {.damping = 0.1, .mismatch = 0.5}, "x");
  EXPECT_TRUE(problem.weight.equal(w));
  EXPECT_TRUE(at::allclose(problem.xtx, 0.1 * at::eye(8)));
}

/// Adds a leaf tensor to a linear's output, so that its gradient is that of the output.
class Probe final : public backend::LinearOp {
 public:
  Probe(const model::Linear& linear, at::Tensor delta)
      : weight_(linear.weight->dequantise().detach()), bias_(linear.bias), delta_(std::move(delta)) {}
  at::Tensor forward(const at::Tensor& x) const override { return at::linear(x, weight_, bias_) + delta_; }
  int64_t resident_bytes() const override { return 0; }
  std::string kernel() const override { return "probe"; }

 private:
  at::Tensor weight_, bias_, delta_;
};

/// The squared gradients at `role` of the first block by autograd, through all logits at once, over their mean.
at::Tensor weights_by_autograd(const model::Model& model, const at::Tensor& ids,
                               model::Linear model::DecoderBlock::*role) {
  model::Model probed = model.clone();
  model::Linear& linear = probed.blocks[0].*role;
  const at::Tensor delta = at::zeros({ids.size(0), ids.size(1), linear.weight->out_features()}).requires_grad_(true);
  linear.op = std::make_shared<Probe>(linear, delta);
  const at::Tensor logits = probed.forward(ids).slice(1, 0, ids.size(1) - 1).flatten(0, 1);
  at::cross_entropy_loss(logits, ids.slice(1, 1).flatten(), {}, at::Reduction::Sum).backward();
  const at::Tensor squares = delta.grad().square().mean(-1);
  return squares / squares.mean();
}

TEST(TokenWeights, AreSquaredGradientsAtTheLinearsOutput) {
  model::Model model = test::tiny_model(1);
  const Calibration calibration = some_calibration();
  const auto weights = token_weights(model, calibration, {}, nullptr);
  EXPECT_TRUE(at::allclose(weights[0].at("up_proj").weights,
                           weights_by_autograd(model, calibration.input_ids, &model::DecoderBlock::up_proj), 1e-4,
                           1e-5));
  EXPECT_NEAR(weights[1].at("q_proj").weights.mean().item<double>(), 1.0, 1e-4);
  const auto clipped = token_weights(model, calibration, {.clip = 1.5}, nullptr);
  EXPECT_LE(clipped[0].at("up_proj").weights.max().item<double>(), 1.5);
  model.config.logit_softcap = 0.5;  // low enough to bend the logits of the tiny model
  const at::Tensor capped = weights_by_autograd(model, calibration.input_ids, &model::DecoderBlock::up_proj);
  EXPECT_TRUE(
      at::allclose(token_weights(model, calibration, {}, nullptr)[0].at("up_proj").weights, capped, 1e-4, 1e-5));
  EXPECT_FALSE(at::allclose(weights[0].at("up_proj").weights, capped, 1e-2, 1e-3));
}

TEST(TokenWeights, OfALargeVocabularyComeFromLogitsInParts) {
  const model::Model model = model::load_model(test::embedded_model(), at::kCPU);
  ASSERT_GT(model.output.size(0), 4096);  // 256 tokens at a time
  const Calibration calibration{(at::arange(2 * 300) * 1237 % 8000).view({2, 300})};
  const at::Tensor expected = weights_by_autograd(model, calibration.input_ids, &model::DecoderBlock::o_proj);
  EXPECT_TRUE(
      at::allclose(token_weights(model, calibration, {}, nullptr)[0].at("o_proj").weights, expected, 1e-3, 1e-3));
}

TEST(TokenWeights, InBfloat16AreNearThoseInFloat32) {
  const model::Model model = model::load_model(test::embedded_model(), at::kCPU);
  const Calibration calibration{(at::arange(2 * 300) * 1237 % 8000).view({2, 300})};
  const auto exact = token_weights(model, calibration, {}, nullptr);
  const auto rounded = token_weights(model, calibration, {.dtype = at::kBFloat16}, nullptr);
  for (size_t block = 0; block < exact.size(); ++block) {
    for (const auto& [role, of_role] : exact[block]) {
      const at::Tensor& weights = of_role.weights;
      const at::Tensor& got = rounded[block].at(role).weights;
      EXPECT_EQ(got.scalar_type(), at::kFloat);
      EXPECT_FALSE(got.equal(weights));
      // Rounding of 2^-9 in each of some tens of steps: a few per cent.
      EXPECT_LT((got - weights).norm().item<double>(), 0.1 * weights.norm().item<double>()) << block << role;
    }
  }
}

TEST(TokenWeights, OfAStageAreTheMeanOfItsLinears) {
  const model::Model model = test::tiny_model(1);
  const auto own = token_weights(model, some_calibration(), {}, nullptr)[1];
  const auto shared = token_weights(model, some_calibration(), {.by_stage = true}, nullptr)[1];
  const at::Tensor mean = (own.at("gate_proj").weights + own.at("up_proj").weights) / 2;
  EXPECT_TRUE(at::allclose(shared.at("gate_proj").weights, mean));
  EXPECT_TRUE(shared.at("up_proj").weights.is_same(shared.at("gate_proj").weights));
  EXPECT_TRUE(shared.at("down_proj").weights.equal(own.at("down_proj").weights));
}

TEST(StageInputs, AreWhatAFullPassShowsAndAPassCanEndEarly) {
  model::Model model = test::tiny_model(1);
  model::DecoderBlock& block = model.blocks[0];
  const at::Tensor inputs = embed_calibration(model, some_calibration());
  const FloatActivations all = float_activations(*model.rotary, block, inputs, true);
  EXPECT_TRUE(all.outputs.equal(run_block(block, *model.rotary, inputs)));
  ASSERT_EQ(all.stage_inputs.size(), 4u);
  for (size_t stage = 0; stage < 4; ++stage) {
    at::Tensor seen;
    const Stages stages = {block.stages()[stage]};
    const at::Tensor outputs = stream_stage_inputs(*model.rotary, block, inputs, stages, /*want_outputs=*/false,
                                                   [&](size_t, int64_t, const at::Tensor& x) { seen = x.clone(); });
    EXPECT_FALSE(outputs.defined());
    EXPECT_TRUE(seen.equal(all.stage_inputs[stage])) << stage;
  }
  for (const model::Linear* linear : block.linears()) EXPECT_FALSE(linear->observer);
}

std::unique_ptr<Method> make_method(const std::string& json) {
  const config::Node root = config::from_json(json, "test");
  config::Reader reader(root);
  return reader.variant<Method>("method.type", methods());
}

std::string recipe(const std::string& objective, const std::string& more = "") {
  return R"({"method":{"type":"aqlm"},"quant":{"num_codebooks":2,"nbits_per_codebook":3,"in_group_size":8},
    "codebook":{"type":"residual_kmeans","metric":"full","max_iter":8,"reseed_every":4},
    "encoder":{"type":"ldlq"},"refiner":{"type":"icm"},"tuner":{"type":"least_squares"},
    "schedule":{"steps":"(D L S)*2 I"},"objective":)" +
         objective + more + "}";
}

constexpr const char* kGuided =
    R"({"damping":0.1,"token_weights":true,"mismatch":0.5,"stages":true,"block_target":"float_model"})";

double output_error(const model::Model& original, const model::Model& quantised) {
  const c10::NoGradGuard no_grad;
  const at::Tensor ids = some_calibration().input_ids;
  return (original.forward(ids) - quantised.forward(ids)).square().mean().item<double>();
}

model::Model quantised(const model::Model& original, const std::string& json, uint64_t seed = 1) {
  model::Model model = original.clone();
  Context context(seed);
  make_method(json)->quantise(model, some_calibration(), context);
  return model;
}

TEST(Recipe, IsDeterministicAndLeavesTheOriginalAlone) {
  const model::Model original = test::tiny_model(1);
  const at::Tensor before = original.forward(some_calibration().input_ids).clone();
  const std::string tuned = recipe(kGuided, R"(,"finetune":{"type":"block_mse","epochs":2,"batch_size":2,"lr":0.001},
    "stage_finetune":{"type":"block_mse","epochs":2,"batch_size":2,"lr":0.001,"lr_schedule":"cosine","warmup":0.05})");
  for (const std::string& json : {recipe(kGuided), tuned}) {
    const model::Model a = quantised(original, json), b = quantised(original, json);
    EXPECT_TRUE(a.blocks[1].down_proj.weight->dequantise().equal(b.blocks[1].down_proj.weight->dequantise()));
    EXPECT_TRUE(a.blocks[1].input_norm.equal(b.blocks[1].input_norm));
    EXPECT_TRUE(original.forward(some_calibration().input_ids).equal(before));
  }
}

TEST(Recipe, StagedFineTuningBringsTheModelCloserToTheOriginal) {
  const model::Model original = test::tiny_model(1);
  const std::string tuned = recipe(kGuided, R"(,"finetune":{"type":"block_mse","epochs":20,"batch_size":2,"lr":0.003},
    "stage_finetune":{"type":"block_mse","epochs":20,"batch_size":2,"lr":0.003,"lr_schedule":"cosine"})");
  EXPECT_LT(output_error(original, quantised(original, tuned)),
            0.8 * output_error(original, quantised(original, recipe(kGuided))));
}

TEST(Recipe, RefusesStageFineTuningWithoutStages) {
  EXPECT_THROW(make_method(recipe(R"({"damping":0.1})", R"(,"stage_finetune":{"type":"block_mse"})")), ConfigError);
}

TEST(Recipe, SaysWherePassesCouldNotTakeTheirDtype) {
  std::string guided = kGuided;
  guided.insert(guided.size() - 1, R"(,"pass_dtype":"bfloat16")");
  const auto notes = [&](const std::string& more) {
    model::Model model = test::tiny_model(1);
    Context context(1);
    make_method(recipe(guided, more))->quantise(model, some_calibration(), context);
    return std::count_if(context.notes.begin(), context.notes.end(),
                         [](const std::string& note) { return note.find("pass_dtype") != std::string::npos; });
  };
  EXPECT_EQ(notes(""), 0);
  EXPECT_EQ(notes(R"(,"stage_finetune":{"type":"block_mse","epochs":1,"batch_size":4,"lr":0.001})"), 1);
}

TEST(Recipe, ReportsWhatItUsed) {
  model::Model model = test::tiny_model(1);
  Context context(1);
  make_method(recipe(kGuided))->quantise(model, some_calibration(), context);
  ASSERT_EQ(context.layers.size(), 14u);
  for (const LayerReport& layer : context.layers) {
    EXPECT_EQ(layer.metrics.at("rounds"), 2);
    EXPECT_EQ(layer.metrics.at("extra_damping"), 0);
    EXPECT_EQ(layer.metrics.at("ldlq_kernel"), 1);
    EXPECT_EQ(layer.metrics.at("icm_kernel"), 1);
    EXPECT_GT(layer.metrics.at("objective"), 0);
  }
}

}  // namespace
}  // namespace aqlm_exp::method
