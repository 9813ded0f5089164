// Methods on blocks of other kinds than Qwen2's: experts, fused projections, sandwich norms.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/method/awq_block.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "framework/quant/weight.h"
#include "framework/scalar/grid.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kSamples = 3, kSeqLen = 20, kTokens = kSamples * kSeqLen;

std::filesystem::path family(const std::string& name) {
  return std::filesystem::path(AQLM_EXP_SOURCE_DIR) / "tests" / "golden" / "families" / name;
}

Calibration calibration(ExpertCalibration experts = {}) {
  return {.input_ids =
              (at::arange(kTokens) * 17 + at::arange(kTokens).floor_divide(7)).remainder(40).view({kSamples, kSeqLen}),
          .experts = experts};
}

struct Outcome {
  model::Model original, model;
  Context context{5};
  double error = 0;  ///< of the logits on the calibration, relative
};

Outcome quantise(const std::string& name, const std::string& json, const Calibration& data = calibration()) {
  at::set_num_threads(1);
  const c10::NoGradGuard no_grad;
  Outcome out{.original = model::load_model(family(name), at::kCPU), .model = {}};
  out.model = out.original.clone();
  const config::Node root = config::from_json(json, "test");
  config::Reader reader(root);
  reader.variant<Method>("method.type", methods())->quantise(out.model, data, out.context);
  const at::Tensor before = out.original.forward(data.input_ids), after = out.model.forward(data.input_ids);
  out.error = ((before - after).square().mean() / before.square().mean()).item<double>();
  return out;
}

constexpr const char* kGptq8 = R"({"method":{"type":"gptq"},"quant":{"nbits":8,"group_size":8}})";

TEST(Families, EightBitsOfEveryMethodKeepTheLogits) {
  for (const char* name : {"phi3", "phi3-longrope", "gemma", "gemma2", "qwen3", "llama-bias-llama3", "llama-linear"}) {
    for (const char* type : {"rtn", "gptq", "awq", "hqq"}) {
      const Outcome out =
          quantise(name, std::string(R"({"method":{"type":")") + type + R"("},"quant":{"nbits":8,"group_size":8}})");
      EXPECT_LT(out.error, 2e-3) << name << " " << type;  // random weights and few bits of slack: seen up to 5e-4
      for (const model::Linear* linear : out.model.linears()) EXPECT_TRUE(linear->weight->is_quantised());
    }
  }
}

TEST(Experts, AreQuantisedAndTheRouterIsNot) {
  for (const char* name : {"mixtral", "mixtral-fused-window", "qwen2-moe", "qwen3-moe", "qwen3-moe-fused"}) {
    // Groups of four are often of one sign, which the awq grid cannot hold: rtn gets the other grid.
    for (const char* type : {R"("rtn","grid":"gptq")", R"("gptq")", R"("hqq")"}) {
      const Outcome out =
          quantise(name, std::string(R"({"method":{"type":)") + type + R"(},"quant":{"nbits":8,"group_size":4}})");
      EXPECT_LT(out.error, 0.1) << name << " " << type;  // a token that changes its expert costs much
      for (size_t i = 0; i < out.model.blocks.size(); ++i) {
        const auto& moe = out.model.blocks[i].moe;
        if (moe.empty()) continue;
        EXPECT_TRUE(moe.router.equal(out.original.blocks[i].moe.router));
        for (const model::Expert& expert : moe.experts) EXPECT_TRUE(expert.up_proj.weight->is_quantised());
      }
    }
  }
}

TEST(Experts, CountTheTokensTheyAreCalibratedOn) {
  const auto count = [](const Outcome& out, const std::string& role) {
    double sum = 0;
    for (const LayerReport& layer : out.context.layers) {
      if (layer.block == 0 && layer.role.find("experts.") == 0 && layer.role.find(role) != std::string::npos) {
        sum += layer.metrics.at("calibration_tokens");
      }
    }
    return sum;
  };
  const Outcome routed = quantise("mixtral", kGptq8);
  EXPECT_EQ(count(routed, "gate_proj"), 2.0 * kTokens);
  EXPECT_EQ(count(routed, "down_proj"), 2.0 * kTokens);
  const Outcome all = quantise("mixtral", kGptq8, calibration({.all_tokens = true}));
  EXPECT_EQ(count(all, "up_proj"), 4.0 * kTokens);
  EXPECT_TRUE(all.context.notes.empty());
}

TEST(Experts, ShowingAllTokensDoesNotChangeTheOutputs) {
  at::set_num_threads(1);
  const c10::NoGradGuard no_grad;
  model::Model model = model::load_model(family("qwen2-moe"), at::kCPU);
  model::DecoderBlock& block = model.blocks[0];
  const at::Tensor x = embed_calibration(model, calibration());
  const at::Tensor plain = block.forward(x, *model.rotary);
  const BlockStatistics all = collect_statistics(block, *model.rotary, x, block.stages(), {.all_tokens = true});
  EXPECT_TRUE(at::allclose(all.outputs, plain, 1e-5, 1e-5));
  // Every expert saw the same tokens: one second moment for all of them, the mean over all tokens.
  const at::Tensor mlp_inputs = block.mlp_input(x, *model.rotary).view({kTokens, -1}).to(at::kDouble);
  const at::Tensor expected = at::matmul(mlp_inputs.t(), mlp_inputs) / static_cast<double>(kTokens);
  for (const char* role : {"experts.0.gate_proj", "experts.5.up_proj", "shared_expert.gate_proj"}) {
    EXPECT_TRUE(at::allclose(all.xtx.at(role), expected, 1e-4, 1e-5)) << role;
  }
}

TEST(Experts, BelowTheThresholdAreRoundedToNearest) {
  const Outcome gptq = quantise("qwen3-moe", kGptq8, calibration({.min_tokens = 1000}));
  const Outcome rtn =
      quantise("qwen3-moe", R"({"method":{"type":"rtn","grid":"gptq"},"quant":{"nbits":8,"group_size":8}})");
  const auto codes = [](const model::Linear& linear) {
    return dynamic_cast<const scalar::ScalarWeight&>(*linear.weight).code().codes;
  };
  const auto& experts = gptq.model.blocks[1].moe.experts;
  ASSERT_FALSE(experts.empty());
  for (size_t e = 0; e < experts.size(); ++e) {
    EXPECT_TRUE(codes(experts[e].gate_proj).equal(codes(rtn.model.blocks[1].moe.experts[e].gate_proj)));
    EXPECT_TRUE(codes(experts[e].down_proj).equal(codes(rtn.model.blocks[1].moe.experts[e].down_proj)));
  }
  EXPECT_THAT(gptq.context.notes, testing::Contains(testing::HasSubstr("saw fewer than 1000 calibration tokens")));
  for (const LayerReport& layer : gptq.context.layers) {
    const bool expert = layer.role.find("experts.") == 0;
    if (layer.block != 1) continue;
    EXPECT_EQ(layer.metrics.at("rounded_to_nearest"), expert ? 1.0 : 0.0) << layer.name;
  }
  // With enough tokens GPTQ compensates: other codes.
  const Outcome usual = quantise("qwen3-moe", R"({"method":{"type":"gptq"},"quant":{"nbits":3,"group_size":-1}})");
  const Outcome nearest =
      quantise("qwen3-moe", R"({"method":{"type":"rtn","grid":"gptq"},"quant":{"nbits":3,"group_size":-1}})");
  EXPECT_FALSE(codes(usual.model.blocks[1].moe.experts[0].gate_proj)
                   .equal(codes(nearest.model.blocks[1].moe.experts[0].gate_proj)));
}

TEST(Experts, AqlmTakesThemWithFewTokens) {
  const Outcome out = quantise("qwen2-moe", R"({"method":{"type":"aqlm"},
      "quant":{"num_codebooks":2,"nbits_per_codebook":6,"in_group_size":4},
      "schedule":{"max_rounds":1},"codebook":{"type":"residual_kmeans","max_iter":5},
      "encoder":{"type":"beam_search","beam_size":1},"tuner":{"type":"adam","steps":2}})",
                               calibration({.min_tokens = 30}));
  EXPECT_LT(out.error, 0.5);
  EXPECT_TRUE(out.model.blocks[0].moe.experts[0].gate_proj.weight->is_quantised());
  EXPECT_TRUE(out.model.blocks[0].moe.shared->gate_proj.weight->is_quantised());
}

TEST(AwqExperts, FoldingKeepsTheFunctionOfTheBlock) {
  at::set_num_threads(1);
  const c10::NoGradGuard no_grad;
  for (const char* name : {"mixtral", "qwen2-moe"}) {
    const model::Model model = model::load_model(family(name), at::kCPU);
    const model::DecoderBlock& original = model.blocks[0];
    const at::Tensor x = embed_calibration(model, calibration());
    const at::Tensor expected = original.forward(x, *model.rotary);
    model::DecoderBlock copy = original;
    const size_t num_sets = scale_sets(copy).size();
    // q,k,v; gate,up of all experts; down of each, the shared one too. Attention is grouped-query: no set for o.
    EXPECT_EQ(num_sets, 2 + original.moe.experts.size() + original.moe.shared.has_value());
    for (size_t i = 0; i < num_sets; ++i) {
      model::DecoderBlock block = model.clone().blocks[0];
      const ScaleSet set = scale_sets(block)[i];
      RoleWeights weights;
      for (const model::Linear* linear : block.linears()) weights[linear->role] = linear->weight->dequantise();
      const int64_t channels = weights.at(set.roles.front()).size(1);
      fold_scales(block, weights, set, (at::arange(channels).remainder(5) - 2).to(at::kFloat).mul(0.4).exp());
      for (model::Linear* linear : block.linears()) {
        linear->weight = std::make_shared<quant::DenseWeight>(weights.at(linear->role));
      }
      EXPECT_TRUE(at::allclose(block.forward(x, *model.rotary), expected, 5e-3, 5e-3)) << name << " " << set.name;
      const bool mlp = set.before == ScaleSet::Before::kMlpNorm;
      EXPECT_EQ(block.moe.router.equal(original.moe.router), !mlp) << "the router reads what the norm gives";
      if (mlp) {
        EXPECT_EQ(set.roles.size(), 2 * (num_sets - 2)) << "gate and up of each";
      }
    }
  }
}

TEST(AwqExperts, AreAllQuantisedAndNoWorseThanRounded) {
  for (const char* name : {"mixtral", "qwen2-moe", "qwen3-moe"}) {
    const std::string quant = R"(},"quant":{"nbits":8,"group_size":4}})";
    const Outcome awq = quantise(name, R"({"method":{"type":"awq")" + quant);
    // The same grid, which cannot hold groups of one sign: that is most of the error here.
    const Outcome nearest = quantise(name, R"({"method":{"type":"rtn","grid":"awq")" + quant);
    RecordProperty(name, std::to_string(awq.error) + " " + std::to_string(nearest.error));
    EXPECT_LT(awq.error, 1.2 * nearest.error) << name;
    for (const model::Linear* linear : awq.model.linears()) EXPECT_TRUE(linear->weight->is_quantised());
  }
}

/// A model whose MLPs read a few channels that are much louder than the others: what AWQ is for.
model::Model loud_experts() {
  const c10::NoGradGuard no_grad;
  model::Model model = model::load_model(family("mixtral"), at::kCPU);
  for (model::DecoderBlock& block : model.blocks) {
    at::Tensor loud = at::ones({block.mlp_norm().size(0)});
    for (const int64_t channel : {3, 17, 26}) loud[channel] = 30.0;
    block.mlp_norm() = block.mlp_norm() * loud;
    block.moe.router = block.moe.router / loud;  // the same tokens as before
  }
  return model;
}

TEST(AwqExperts, SharedScalesLowerTheErrorOfLoudChannels) {
  at::set_num_threads(1);
  const c10::NoGradGuard no_grad;
  const model::Model original = loud_experts();
  const at::Tensor x = embed_calibration(original, calibration());
  const auto error = [&](const char* scale) {
    model::Model model = original.clone();
    const config::Node root = config::from_json(std::string(R"({"method":{"type":"awq","clip":false,"scale":)") +
                                                    scale + R"(},"quant":{"nbits":4,"group_size":8}})",
                                                "test");
    config::Reader reader(root);
    Context context(5);
    reader.variant<Method>("method.type", methods())->quantise(model, calibration(), context);
    // The MLP alone, on what the unquantised block gives it.
    const model::DecoderBlock &before = original.blocks[0], &after = model.blocks[0];
    const at::Tensor hidden = x + before.attention(model::rms_norm(x, before.input_norm, 1e-5), *original.rotary);
    const auto mlp = [&](const model::DecoderBlock& block) {
      return block.mlp(model::rms_norm(hidden, block.mlp_norm(), 1e-5));
    };
    return ((mlp(before) - mlp(after)).square().mean() / mlp(before).square().mean()).item<double>();
  };
  const double plain = error("false"), scaled = error("true");
  RecordProperty("plain", std::to_string(plain));
  RecordProperty("scaled", std::to_string(scaled));
  EXPECT_LT(scaled, 0.5 * plain);
}

TEST(AwqExperts, ThoseWithFewTokensAreNotSearchedOn) {
  const Outcome out = quantise("mixtral", R"({"method":{"type":"awq"},"quant":{"nbits":4,"group_size":4}})",
                               calibration({.min_tokens = 1000}));
  EXPECT_THAT(out.context.notes, testing::Contains(testing::HasSubstr("saw fewer than 1000 calibration tokens")));
  const c10::NoGradGuard no_grad;
  // down_proj: neither scaled nor clipped, so that rounding it anew gives the same.
  const at::Tensor original = out.original.blocks[0].moe.experts[1].down_proj.weight->dequantise();
  const at::Tensor expected = scalar::rtn(original, 4, {.kind = scalar::GridKind::kAwq, .nbits = 4}).dequantise();
  EXPECT_TRUE(out.model.blocks[0].moe.experts[1].down_proj.weight->dequantise().equal(expected));
}

}  // namespace
}  // namespace aqlm_exp::method
