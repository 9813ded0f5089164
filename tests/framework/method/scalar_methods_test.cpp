#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/backend/backend.h"
#include "framework/base/error.h"
#include "framework/method/awq_block.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kSamples = 6, kSeqLen = 32;

std::unique_ptr<Method> make_method(const std::string& json) {
  const config::Node root = config::from_json(json, "test");
  config::Reader reader(root);
  return reader.variant<Method>("method.type", methods());
}

Calibration some_calibration() {
  return {(at::arange(kSamples * kSeqLen) * 13 % 50 + at::arange(kSamples * kSeqLen).floor_divide(50))
              .remainder(50)
              .view({kSamples, kSeqLen})};
}

/// The tiny model with a few loud channels, as trained models have them: what AWQ is about.
model::Model loud_model() {
  model::Model model = test::tiny_model(3);
  for (model::DecoderBlock& block : model.blocks) {
    for (const int64_t channel : {3, 17}) {
      block.input_norm[channel] = 12.0;
      block.post_attention_norm[channel] = 9.0;
    }
  }
  return model;
}

struct Outcome {
  model::Model model;
  Context context{7};
  double error = 0;  ///< mean squared difference of the logits on the calibration
};

Outcome quantise(const model::Model& original, const std::string& json) {
  const c10::NoGradGuard no_grad;
  Outcome outcome{.model = original.clone()};
  make_method(json)->quantise(outcome.model, some_calibration(), outcome.context);
  const at::Tensor ids = some_calibration().input_ids;
  outcome.error = (original.forward(ids) - outcome.model.forward(ids)).square().mean().item<double>();
  return outcome;
}

TEST(ScalarMethods, ReplaceEveryLinearAndReportIt) {
  const model::Model original = test::tiny_model(1);
  for (const std::string type : {"rtn", "gptq", "awq", "hqq"}) {
    const Outcome outcome =
        quantise(original, R"({"method":{"type":")" + type + R"("},"quant":{"nbits":3,"group_size":16}})");
    for (const model::Linear* linear : outcome.model.linears()) {
      EXPECT_EQ(linear->weight->format(), type + " 3 bits g16");
      EXPECT_TRUE(linear->weight->is_quantised());
    }
    ASSERT_EQ(outcome.context.layers.size(), 14u);
    EXPECT_EQ(outcome.context.layers[7].block, 1);
    EXPECT_GT(outcome.context.layers[7].metrics.at("bits_per_weight"), 3);
    for (const model::Linear* linear : original.linears()) EXPECT_EQ(linear->weight->format(), "dense");
    EXPECT_GT(outcome.error, 0);
  }
}

TEST(ScalarMethods, MoreBitsBringTheModelBack) {
  const model::Model original = test::tiny_model(1);
  for (const std::string type : {"rtn", "gptq", "awq", "hqq"}) {
    const auto at_bits = [&](int nbits) {
      return quantise(original, R"({"method":{"type":")" + type + R"("},"quant":{"group_size":16,"nbits":)" +
                                    std::to_string(nbits) + "}}")
          .error;
    };
    const double two = at_bits(2), four = at_bits(4), eight = at_bits(8);
    EXPECT_LT(four, 0.3 * two) << type;
    EXPECT_LT(eight, 0.05 * four) << type;
  }
}

TEST(ScalarMethods, AreDeterministic) {
  const model::Model original = loud_model();
  for (const std::string type : {"gptq", "awq", "hqq"}) {
    const std::string json = R"({"method":{"type":")" + type + R"("},"quant":{"nbits":3,"group_size":16}})";
    const Outcome a = quantise(original, json), b = quantise(original, json);
    for (size_t i = 0; i < a.model.linears().size(); ++i) {
      EXPECT_TRUE(a.model.linears()[i]->weight->dequantise().equal(b.model.linears()[i]->weight->dequantise()));
    }
  }
}

TEST(ScalarMethods, FourBitTablesReplaceEveryLinear) {
  const model::Model original = test::tiny_model(1);
  for (const std::string type : {"nf4", "fp4"}) {
    const Outcome plain = quantise(original, R"({"method":{"type":")" + type + R"("},"quant":{"group_size":32}})");
    const Outcome dq =
        quantise(original, R"({"method":{"type":")" + type + R"(","double_quant":true},"quant":{"group_size":32}})");
    for (const model::Linear* linear : plain.model.linears()) EXPECT_EQ(linear->weight->format(), type + " g32");
    EXPECT_EQ(dq.model.linears()[13]->weight->format(), type + "-dq g32");
    EXPECT_GT(plain.error, 0);
    EXPECT_LT(dq.error, 2 * plain.error);
    EXPECT_DOUBLE_EQ(model::quantised_bits(plain.model).per_weight(), 5);
  }
}

TEST(LlmInt8, RunsOnItsOwnBackendOnly) {
  const c10::NoGradGuard no_grad;
  const model::Model original = test::tiny_model(1);
  Outcome outcome =
      quantise(original, R"({"method":{"type":"llm_int8"},"quant":{"overrides":[{"match":"o_proj","skip":true}]}})");
  const auto backend = [](const std::string& json) {
    const config::Node root = config::from_json(json, "test");
    config::Reader reader(root);
    return reader.component("backend", backend::backends(), "");
  };
  try {
    outcome.model.prepare(*backend(R"({"backend":{"type":"dense"}})"));
    FAIL() << "float activations were taken for LLM.int8";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("use backend.type: llm_int8"));
  }
  outcome.model.clear_ops();
  const auto int8 = backend(R"({"backend":{"type":"llm_int8","threshold":6.0}})");
  outcome.model.prepare(*int8);
  EXPECT_EQ(outcome.model.blocks[0].q_proj.op->kernel(), "llm_int8");
  EXPECT_EQ(outcome.model.blocks[0].o_proj.op->kernel(), "dense");
  const at::Tensor ids = some_calibration().input_ids;
  const at::Tensor exact = original.forward(ids), ours = outcome.model.forward(ids);
  const double relative = ((ours - exact).square().mean() / exact.square().mean()).item<double>();
  EXPECT_GT(relative, 0);
  EXPECT_LT(relative, 2e-3);
  Outcome other = quantise(original, R"({"method":{"type":"rtn"},"quant":{"group_size":16}})");
  EXPECT_THROW(other.model.prepare(*int8), ConfigError);
}

TEST(ScalarMethods, SettingNamesWhatWasChosen) {
  EXPECT_EQ(make_method(R"({"method":{"type":"gptq","desc_act":true,"sym":true},"quant":{"nbits":3}})")->setting(),
            "3 bits g128 sym act-order");
  EXPECT_EQ(make_method(R"({"method":{"type":"awq","duo_scaling":true},"quant":{"group_size":-1}})")->setting(),
            "4 bits per row duo");
  EXPECT_EQ(make_method(R"({"method":{"type":"hqq"}})")->setting(), "4 bits g64 legacy");
}

TEST(Gptq, BeatsRoundToNearestOnItsCalibration) {
  const model::Model original = test::tiny_model(1);
  const std::string quant = R"("quant":{"nbits":3,"group_size":16}})";
  const double nearest = quantise(original, R"({"method":{"type":"rtn","grid":"gptq"},)" + quant).error;
  EXPECT_LT(quantise(original, R"({"method":{"type":"gptq"},)" + quant).error, 0.8 * nearest);
  EXPECT_LT(quantise(original, R"({"method":{"type":"gptq","desc_act":true,"static_groups":true},)" + quant).error,
            0.8 * nearest);
}

TEST(Gptq, TrueSequentialSeesTheQuantisedStagesBefore) {
  const model::Model original = test::tiny_model(1);
  const std::string quant = R"("quant":{"nbits":2,"group_size":16}})";
  const Outcome plain = quantise(original, R"({"method":{"type":"gptq"},)" + quant);
  const Outcome sequential = quantise(original, R"({"method":{"type":"gptq","true_sequential":true},)" + quant);
  const auto weight = [](const Outcome& o, size_t i) { return o.model.linears()[i]->weight->dequantise(); };
  EXPECT_TRUE(weight(plain, 0).equal(weight(sequential, 0)));   // q_proj of block 0: the same inputs
  EXPECT_FALSE(weight(plain, 6).equal(weight(sequential, 6)));  // down_proj: inputs of quantised gate and up
}

TEST(Gptq, SecondBlockSeesTheQuantisedFirst) {
  const model::Model original = test::tiny_model(1);
  const std::string keep_first = R"({"method":{"type":"gptq"},"quant":{"nbits":2,"group_size":16,
    "overrides":[{"match":"layers\\.0\\.","skip":true}]}})";
  const Outcome whole = quantise(original, R"({"method":{"type":"gptq"},"quant":{"nbits":2,"group_size":16}})");
  const Outcome second = quantise(original, keep_first);
  EXPECT_FALSE(whole.model.linears()[7]->weight->dequantise().equal(second.model.linears()[7]->weight->dequantise()));
}

TEST(Gptq, CountsDeadColumnsAndSaysSo) {
  model::Model original = test::tiny_model(1);
  original.blocks[0].input_norm[5] = 0;
  const Outcome outcome = quantise(original, R"({"method":{"type":"gptq"},"quant":{"nbits":4,"group_size":16}})");
  EXPECT_EQ(outcome.context.metrics.at("dead_columns"), 3);  // q, k and v
  EXPECT_THAT(outcome.context.notes, ::testing::Contains(::testing::HasSubstr("3 input columns were zero")));
}

TEST(Awq, BeatsRoundToNearestWhereChannelsAreLoud) {
  const model::Model original = loud_model();
  const std::string quant = R"("quant":{"nbits":3,"group_size":16}})";
  const double nearest = quantise(original, R"({"method":{"type":"rtn"},)" + quant).error;
  const double scaled = quantise(original, R"({"method":{"type":"awq","clip":false},)" + quant).error;
  const double whole = quantise(original, R"({"method":{"type":"awq"},)" + quant).error;
  EXPECT_LT(scaled, 0.7 * nearest);
  EXPECT_LT(whole, 0.7 * nearest);
  EXPECT_LT(quantise(original, R"({"method":{"type":"awq","duo_scaling":true},)" + quant).error, 0.7 * nearest);
}

TEST(Awq, WithoutScalesAndClippingIsRoundToNearest) {
  const model::Model original = loud_model();
  const Outcome plain =
      quantise(original, R"({"method":{"type":"awq","scale":false,"clip":false},"quant":{"nbits":3,"group_size":16}})");
  const Outcome nearest =
      quantise(original, R"({"method":{"type":"rtn","grid":"awq"},"quant":{"nbits":3,"group_size":16}})");
  for (size_t i = 0; i < 14; ++i) {
    EXPECT_TRUE(plain.model.linears()[i]->weight->dequantise().equal(nearest.model.linears()[i]->weight->dequantise()));
  }
}

TEST(Awq, LeavesQueriesAndKeysUnclipped) {
  const model::Model original = loud_model();
  const std::string quant = R"("quant":{"nbits":3,"group_size":16}})";
  const Outcome clipped = quantise(original, R"({"method":{"type":"awq","scale":false},)" + quant);
  const Outcome plain = quantise(original, R"({"method":{"type":"awq","scale":false,"clip":false},)" + quant);
  for (size_t i = 0; i < 7; ++i) {
    const bool same =
        clipped.model.linears()[i]->weight->dequantise().equal(plain.model.linears()[i]->weight->dequantise());
    EXPECT_EQ(same, i < 2) << clipped.model.linears()[i]->name;
  }
}

TEST(Awq, EveryBlockSeesTheUnquantisedModel) {
  const model::Model original = loud_model();
  const std::string quant = R"("quant":{"nbits":2,"group_size":16)";
  const Outcome whole = quantise(original, R"({"method":{"type":"awq"},)" + quant + "}}");
  const Outcome second = quantise(
      original, R"({"method":{"type":"awq"},)" + quant + R"(,"overrides":[{"match":"layers\\.0\\.","skip":true}]}})");
  EXPECT_TRUE(whole.model.linears()[13]->weight->dequantise().equal(second.model.linears()[13]->weight->dequantise()));
}

/// A block where v and o have one shape (as many kv heads as heads), with a bias on v.
model::Model square_attention_model() {
  model::Model model = test::tiny_model(5);
  for (model::DecoderBlock& block : model.blocks) {
    block.shape.num_kv_heads = block.shape.num_heads;
    for (model::Linear* linear : {&block.k_proj, &block.v_proj}) {
      linear->weight = std::make_shared<quant::DenseWeight>(test::gaussian({32, 32}, 77) / std::sqrt(32.0));
      linear->bias = test::gaussian({32}, 78);
    }
  }
  return model;
}

TEST(AwqFolding, KeepsTheFunctionOfTheBlock) {
  const c10::NoGradGuard no_grad;
  for (const bool square : {false, true}) {
    const model::Model model = square ? square_attention_model() : test::tiny_model(5);
    const at::Tensor x = test::gaussian({2, 9, 32}, 6);
    const at::Tensor expected = model.blocks[0].forward(x, *model.rotary);
    for (size_t i = 0; i < (square ? 4u : 3u); ++i) {
      model::DecoderBlock block = model.clone().blocks[0];
      const std::vector<ScaleSet> sets = scale_sets(block);
      ASSERT_EQ(sets.size(), square ? 4u : 3u);
      RoleWeights weights;
      for (const model::Linear* linear : block.linears()) weights[linear->role] = linear->weight->dequantise();
      const int64_t channels = sets[i].name == "down" ? 64 : 32;
      fold_scales(block, weights, sets[i], test::gaussian({channels}, 8).exp());
      for (model::Linear* linear : block.linears()) {
        linear->weight = std::make_shared<quant::DenseWeight>(weights.at(linear->role));
      }
      // Norms and biases are rounded to float16 on the way: 2^-11 of each value.
      EXPECT_LT((block.forward(x, *model.rotary) - expected).abs().max().item<double>(), 5e-3) << sets[i].name;
      const auto same = [&](const model::Linear& linear, const at::Tensor& before) {
        return linear.weight->dequantise().equal(before);
      };
      EXPECT_EQ(same(block.q_proj, model.blocks[0].q_proj.weight->dequantise()), sets[i].name != "q,k,v");
      EXPECT_EQ(same(block.down_proj, model.blocks[0].down_proj.weight->dequantise()), sets[i].name != "down");
    }
    EXPECT_EQ(can_scale_attention_output(model.blocks[0]), square);
  }
}

TEST(AwqFolding, ScalesTheAttentionOutputOfSquareModels) {
  const model::Model original = square_attention_model();
  const Outcome outcome = quantise(original, R"({"method":{"type":"awq"},"quant":{"nbits":4,"group_size":16}})");
  EXPECT_FALSE(outcome.model.blocks[0].v_proj.bias.equal(original.blocks[0].v_proj.bias));
  EXPECT_TRUE(outcome.context.notes.empty());
  const Outcome grouped =
      quantise(test::tiny_model(5), R"({"method":{"type":"awq"},"quant":{"nbits":4,"group_size":16}})");
  EXPECT_THAT(grouped.context.notes, ::testing::Contains(::testing::HasSubstr("o_proj is not scaled")));
}

TEST(AwqInputs, AreWhatTheLinearsAreGiven) {
  const c10::NoGradGuard no_grad;
  model::Model model = loud_model();
  model::DecoderBlock& block = model.blocks[0];
  const at::Tensor inputs = embed_calibration(model, some_calibration());
  const BlockStatistics statistics = collect_full_statistics(block, *model.rotary, inputs, /*stride=*/192 / 40);
  const BlockInputs found = awq_inputs(block, *model.rotary, inputs.slice(0, 0, 4), statistics, {});
  const at::Tensor normed = model::rms_norm(inputs, block.input_norm, 1e-6);
  const at::Tensor tokens = normed.reshape({-1, 32});
  EXPECT_TRUE(at::allclose(found.stages[0].mean_abs, tokens.abs().mean(0), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(found.stages[0].sample, tokens.slice(0, 0, tokens.size(0), 192 / 40), 1e-5, 1e-6));
  const at::Tensor hidden = inputs + block.attention(normed, *model.rotary);
  const at::Tensor mlp_inputs = model::rms_norm(hidden, block.post_attention_norm, 1e-6);
  EXPECT_TRUE(at::allclose(found.mlp, mlp_inputs.slice(0, 0, 4), 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(statistics.outputs, block.forward(inputs, *model.rotary), 1e-4, 1e-4));
  for (const model::Linear* linear : block.linears()) EXPECT_FALSE(linear->observer);
}

TEST(AwqErrors, OfOneLinearComeExactlyFromSecondMoments) {
  const at::Tensor x = test::gaussian({200, 32}, 1), weight = test::gaussian({8, 32}, 2);
  const at::Tensor trial = weight + 0.1 * test::gaussian({8, 32}, 3);
  const double direct = x.matmul((trial - weight).t()).square().mean().item<double>();
  const at::Tensor xtx = x.t().matmul(x).to(at::kDouble) / 200;
  EXPECT_NEAR(linear_error(weight, xtx)({trial}), direct, 1e-5 * direct);
}

TEST(AwqErrors, OfAModuleAreTheMeanOverAllSamples) {
  const c10::NoGradGuard no_grad;
  model::Model model = test::tiny_model(5);
  const model::DecoderBlock& block = model.blocks[0];
  const at::Tensor x = test::gaussian({5, 3000, 32}, 6);  // more tokens than one chunk holds
  const RunModule run = [](const model::DecoderBlock& b, const at::Tensor& normed) { return b.mlp(normed); };
  const auto error = module_error(block, {"gate_proj", "up_proj"}, x, run);
  const at::Tensor gate = block.gate_proj.weight->dequantise(), up = block.up_proj.weight->dequantise() * 1.1;
  EXPECT_NEAR(error({gate, block.up_proj.weight->dequantise()}), 0, 1e-12);
  model::DecoderBlock changed = block;
  changed.up_proj.weight = std::make_shared<quant::DenseWeight>(up);
  const double direct = (block.mlp(x) - changed.mlp(x)).square().mean().item<double>();
  EXPECT_NEAR(error({gate, up}), direct, 1e-4 * direct);
}

TEST(Overrides, ChangeTheLinearsTheyMatch) {
  const model::Model original = test::tiny_model(1);
  for (const std::string type : {"rtn", "gptq", "awq", "hqq"}) {
    const Outcome outcome =
        quantise(original, R"({"method":{"type":")" + type + R"("},"quant":{"nbits":3,"group_size":16,
      "overrides":[{"match":"_proj$","group_size":8},{"match":"layers\\.1\\.(up|down)_proj","nbits":8},
                   {"match":"layers\\.0\\.gate","skip":true}]}})");
    const auto format = [&](size_t i) { return outcome.model.linears()[i]->weight->format(); };
    EXPECT_EQ(format(0), type + " 3 bits g8");
    EXPECT_EQ(format(4), "dense");
    EXPECT_EQ(format(11), type + " 3 bits g8");
    EXPECT_EQ(format(12), type + " 8 bits g8");
    EXPECT_EQ(outcome.context.layers.size(), 13u);
  }
}

TEST(Overrides, ThatMatchNothingAreRefused) {
  const model::Model original = test::tiny_model(1);
  for (const std::string type : {"rtn", "gptq", "awq", "hqq"}) {
    const std::string json =
        R"({"method":{"type":")" + type + R"("},"quant":{"overrides":[{"match":"qproj","nbits":8}]}})";
    try {
      quantise(original, json);
      FAIL() << type << " took an override that matches nothing";
    } catch (const ConfigError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("fits none of the model's 14 linears"));
    }
  }
}

TEST(Overrides, NeedARegularExpression) {
  EXPECT_THROW(make_method(R"({"method":{"type":"rtn"},"quant":{"overrides":[{"match":"(","nbits":8}]}})"),
               ConfigError);
  EXPECT_THROW(make_method(R"({"method":{"type":"rtn"},"quant":{"group_size":0}})"), ConfigError);
}

TEST(ScalarMethods, ContradictoryKeysAreRefused) {
  EXPECT_THROW(make_method(R"({"method":{"type":"rtn","mse":true}})"), ConfigError);
  EXPECT_THROW(make_method(R"({"method":{"type":"gptq","static_groups":true},"quant":{"group_size":-1}})"),
               ConfigError);
  EXPECT_THROW(make_method(R"({"method":{"type":"hqq"},"quant":{"nbits":7}})"), ConfigError);
}

TEST(ScalarMethods, QuantiseOneLayerAlone) {
  const quant::LayerProblem problem = test::correlated_layer(32, 64, 3);
  double nearest = 0;
  for (const std::string type : {"rtn", "hqq", "gptq"}) {
    Context context(1);
    const auto weight = make_method(R"({"method":{"type":")" + type + R"("},"quant":{"nbits":3,"group_size":32}})")
                            ->quantise_layer(problem, context);
    EXPECT_EQ(weight->format(), type + " 3 bits g32");
    const double error = quant::output_error(weight->dequantise(), problem.weight, problem.xtx);
    if (type == "rtn") nearest = error;
    if (type == "gptq") {
      EXPECT_LT(error, 0.8 * nearest);
    }
  }
  Context context(1);
  EXPECT_THROW(make_method(R"({"method":{"type":"awq"}})")->quantise_layer(problem, context), ConfigError);
}

}  // namespace
}  // namespace aqlm_exp::method
