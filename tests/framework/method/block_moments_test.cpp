// Moments stage by stage: going on from where the stage before ended gives what whole passes give.
#include "framework/method/block_moments.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/quant/weight.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::method {
namespace {

/// 96 sequences, of which 64 go at a time.
Calibration some_calibration() { return {(at::arange(96 * 64) * at::arange(96 * 64) % 47).view({96, 64})}; }

/// As a quantiser would leave it: another weight, near the old one.
void disturb(model::Linear& linear) {
  const at::Tensor weight = linear.weight->dequantise();
  linear.weight = std::make_shared<quant::DenseWeight>(weight + 0.1 * weight.roll(1, 0));
}

bool near(const at::Tensor& a, const at::Tensor& b, double tolerance = 1e-5) {
  return a.sizes() == b.sizes() && (a - b).norm().item<double>() <= tolerance * (1e-12 + b.norm().item<double>());
}

TEST(StagedPass, ShowsWhatAFullPassShowsAndGivesTheSameOutputs) {
  model::Model model = test::tiny_model(1);
  model::DecoderBlock& block = model.blocks[0];
  const at::Tensor inputs = embed_calibration(model, some_calibration());
  const FloatActivations all = float_activations(*model.rotary, block, inputs, true);
  StagedPass pass(block, *model.rotary, inputs);
  ASSERT_EQ(pass.step(), 64);
  for (size_t stage = 0; stage < StagedPass::kNumStages; ++stage) {
    for (int64_t begin = 0; begin < 96; begin += pass.step()) {
      const int64_t end = std::min<int64_t>(96, begin + pass.step());
      EXPECT_TRUE(near(pass.stage_inputs(stage, begin, end), all.stage_inputs[stage].slice(0, begin, end))) << stage;
    }
  }
  EXPECT_TRUE(near(pass.outputs(), all.outputs));
  EXPECT_TRUE(near(pass.outputs(2, 4), all.outputs.slice(0, 2, 4)));
}

TEST(StagedPass, RefusesExperts) {
  model::Model model = test::tiny_model(1);
  model.blocks[0].moe.experts.resize(2);
  EXPECT_THROW(StagedPass(model.blocks[0], *model.rotary, at::zeros({1, 4, 32})), InternalError);
}

/// Moments of all stages and the outputs, with every linear disturbed once its stage was seen.
std::pair<std::map<std::string, Moments>, std::vector<at::Tensor>> walk_block(bool in_steps, bool by_stage,
                                                                              const ObjectiveOptions& options,
                                                                              StageTimes& times,
                                                                              double tolerance = 1e-5) {
  const model::Model original = test::tiny_model(1);
  model::Model model = original.clone(), float_model = original.clone();
  const Calibration calibration = some_calibration();
  const auto weights = token_weights(original, calibration, {.by_stage = by_stage}, nullptr);
  const at::Tensor float_inputs = embed_calibration(original, calibration);
  const at::Tensor inputs = float_inputs + 0.1 * test::gaussian(float_inputs.sizes().vec(), 5);
  model::DecoderBlock& block = model.blocks[0];
  BlockMoments moments({block, float_model.blocks[0], *model.rotary, inputs, float_inputs}, options, weights.data(),
                       in_steps, times);
  std::map<std::string, Moments> out;
  const Stages stages = block.stages();
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    out.merge(moments.collect({stages[stage]}, stage));
    for (model::Linear* linear : stages[stage]) disturb(*linear);
  }
  const at::Tensor outputs = moments.outputs();
  EXPECT_TRUE(near(outputs, run_block(block, *model.rotary, inputs), tolerance));
  EXPECT_TRUE(near(moments.float_outputs(), run_block(original.blocks[0], *model.rotary, float_inputs), tolerance));
  return {out, {outputs, moments.float_outputs()}};
}

TEST(BlockMoments, AreTheSameInStepsAndFromTheInputs) {
  const ObjectiveOptions options{.token_weights = true, .mismatch = 0.5, .residual = 0.25, .stages = true};
  StageTimes times;
  const auto [steps, steps_out] = walk_block(true, false, options, times);
  const auto [whole, whole_out] = walk_block(false, false, options, times);
  ASSERT_EQ(steps.size(), 7u);
  for (const auto& [role, expected] : whole) {
    const Moments& got = steps.at(role);
    EXPECT_TRUE(near(got.xtx, expected.xtx)) << role;
    EXPECT_TRUE(near(got.mismatch, expected.mismatch)) << role;
    ASSERT_EQ(got.residual.defined(), expected.residual.defined()) << role;
    if (!got.residual.defined()) continue;
    EXPECT_TRUE(near(got.residual, expected.residual, 1e-4)) << role;
  }
  EXPECT_TRUE(steps.at("o_proj").residual.defined());
  EXPECT_TRUE(steps.at("down_proj").residual.defined());
  EXPECT_TRUE(near(steps_out[0], whole_out[0]));
}

TEST(BlockMoments, FromPassesInBfloat16AreNearThoseInFloat32) {
  ObjectiveOptions options{.token_weights = true, .mismatch = 0.5, .residual = 0.25, .stages = true};
  StageTimes times;
  const auto exact = walk_block(true, false, options, times).first;
  options.pass_dtype = at::kBFloat16;
  const auto rounded = walk_block(true, false, options, times, 1e-2).first;
  for (const auto& [role, expected] : exact) {
    const Moments& got = rounded.at(role);
    EXPECT_EQ(got.xtx.scalar_type(), at::kDouble);
    // Rounding of 2^-9 of each factor averages out over the tokens.
    EXPECT_TRUE(near(got.xtx, expected.xtx, 5e-3)) << role;
    EXPECT_TRUE(near(got.mismatch, expected.mismatch, 5e-2)) << role;
    if (!expected.residual.defined()) continue;
    EXPECT_TRUE(near(got.residual, expected.residual, 5e-2)) << role;
  }
  EXPECT_FALSE(rounded.at("o_proj").xtx.equal(exact.at("o_proj").xtx));
}

TEST(BlockMoments, OfAStageAreSharedWhereTokensWeighTheSame) {
  const ObjectiveOptions options{.token_weights = true, .mismatch = 0.5, .stages = true};
  StageTimes times;
  const auto shared = walk_block(true, true, options, times).first, own = walk_block(true, false, options, times).first;
  EXPECT_TRUE(shared.at("q_proj").xtx.is_same(shared.at("v_proj").xtx));
  EXPECT_TRUE(shared.at("gate_proj").mismatch.is_same(shared.at("up_proj").mismatch));
  EXPECT_FALSE(own.at("q_proj").xtx.equal(own.at("v_proj").xtx));
  // Moments are linear in the weights: those of the mean are the mean of those.
  EXPECT_TRUE(near(shared.at("k_proj").xtx, (own.at("q_proj").xtx + own.at("k_proj").xtx + own.at("v_proj").xtx) / 3));
  EXPECT_TRUE(near(shared.at("o_proj").xtx, own.at("o_proj").xtx));
}

}  // namespace
}  // namespace aqlm_exp::method
