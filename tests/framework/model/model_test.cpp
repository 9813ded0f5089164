#include "framework/model/model.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "framework/base/error.h"
#include "framework/checkpoint/checkpoint.h"
#include "framework/quant/additive_weight.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::model {
namespace {

at::Tensor golden_tensor(const checkpoint::Checkpoint& file, const std::string& name, at::ScalarType type) {
  const checkpoint::TensorInfo& info = file.at(name);
  at::Tensor out = at::empty(info.shape, type);
  EXPECT_EQ(out.nbytes(), file.bytes(info).size());
  std::memcpy(out.data_ptr(), file.bytes(info).data(), out.nbytes());
  return out;
}

/// Largest difference to the logits of Hugging Face transformers beside the model (models/README.md).
double worst_difference(const std::filesystem::path& folder) {
  const c10::NoGradGuard no_grad;
  const auto golden = checkpoint::Checkpoint::open(folder / "golden.safetensors");
  const at::Tensor ids = golden_tensor(golden, "input_ids",
                                       golden.at("input_ids").dtype == checkpoint::Dtype::kI64 ? at::kLong : at::kInt);
  const Model model = load_model(folder, at::kCPU);
  const at::Tensor logits = model.forward(ids.to(at::kLong).view({1, -1})).squeeze(0);
  return (logits - golden_tensor(golden, "logits_fp32", at::kFloat).view_as(logits)).abs().max().item<double>();
}

TEST(Model, GivesTheLogitsOfTransformers) { EXPECT_LE(worst_difference(test::embedded_model()), 1e-4); }

TEST(Model, GivesTheLogitsOfTransformersFromShards) {
  const auto folder = test::shared_model("qwen2-17m");
  if (folder.empty()) GTEST_SKIP() << test::skip_reason();
  // The logits shipped with the shared model are not those of float32 arithmetic: transformers 5.24 itself, in float32
  // on a CPU, differs from them by 0.0205 at most (tests/golden/make_logits.py made ours for the embedded model).
  EXPECT_LE(worst_difference(folder), 0.0206);
}

TEST(Model, ReadsTheAqlmCheckpointOfTheReference) {
  const auto folder = test::shared_model("aqlm-official-qwen2-17m-2x8");
  if (folder.empty()) GTEST_SKIP() << test::skip_reason();
  EXPECT_LE(worst_difference(folder), 2e-3);
}

TEST(Model, CachedForwardEqualsTheWholeSequenceForAnySplit) {
  const c10::NoGradGuard no_grad;
  const Model model = test::tiny_model(1);
  const at::Tensor ids = (at::arange(12) * 7 % 50).view({1, 12});
  const at::Tensor whole = model.forward(ids);
  for (const std::vector<int64_t>& parts : {std::vector<int64_t>{12}, {5, 7}, {1, 1, 10}, {11, 1}}) {
    KvCache cache = model.make_cache(1, 16);
    int64_t start = 0;
    for (int64_t part : parts) {
      const at::Tensor logits = model.logits(model.forward_cached(ids.slice(1, start, start + part), cache));
      EXPECT_TRUE(at::allclose(logits, whole.slice(1, start, start + part), 1e-4, 1e-4)) << start << " " << part;
      start += part;
    }
  }
}

TEST(Model, IsCausal) {
  const c10::NoGradGuard no_grad;
  const Model model = test::tiny_model(2);
  at::Tensor ids = (at::arange(8) * 3 % 50).view({1, 8});
  const at::Tensor before = model.forward(ids);
  ids = ids.clone();
  ids[0][7] = 49;
  const at::Tensor after = model.forward(ids);
  EXPECT_TRUE(before.slice(1, 0, 7).equal(after.slice(1, 0, 7)));
  EXPECT_FALSE(before.slice(1, 7).equal(after.slice(1, 7)));
}

TEST(Model, RefusesMoreTokensThanTheCacheOrTheModelHolds) {
  const Model model = test::tiny_model(1);
  KvCache cache = model.make_cache(1, 4);
  EXPECT_THROW(model.forward_cached(at::zeros({1, 5}, at::kLong), cache), DataError);
  EXPECT_THROW(model.make_cache(1, 65), DataError);
  EXPECT_THROW(model.forward(at::zeros({1, 65}, at::kLong)), DataError);
}

TEST(Model, CloneSharesNothingThatMethodsChange) {
  const Model model = test::tiny_model(3);
  Model copy = model.clone();
  copy.blocks[0].input_norm.fill_(0);
  copy.blocks[0].q_proj.bias.fill_(9);
  copy.blocks[0].q_proj.weight = std::make_shared<quant::DenseWeight>(at::zeros({32, 32}));
  EXPECT_GT(model.blocks[0].input_norm.abs().sum().item<double>(), 0);
  EXPECT_LT(model.blocks[0].q_proj.bias.abs().max().item<double>(), 9);
  EXPECT_GT(model.blocks[0].q_proj.weight->dequantise().abs().sum().item<double>(), 0);
}

TEST(Model, BackendsAgree) {
  const c10::NoGradGuard no_grad;
  Model model = test::tiny_model(4);
  const at::Tensor ids = (at::arange(10) * 11 % 50).view({1, 10});
  const at::Tensor plain = model.forward(ids);
  for (const char* type : {"dense", "dequantise", "reference"}) {
    model.prepare(*test::build(backend::backends(), std::string(R"({"type":")") + type + "\"}"));
    EXPECT_TRUE(at::allclose(model.forward(ids), plain, 1e-4, 1e-4)) << type;
    EXPECT_GT(model.resident_bytes(), 0);
    model.clear_ops();
  }
}

TEST(RmsNorm, MatchesTheFormula) {
  const at::Tensor x = test::gaussian({3, 8}, 1), w = test::gaussian({8}, 2);
  const at::Tensor y = rms_norm(x, w, 1e-6);
  for (int64_t row = 0; row < 3; ++row) {
    double square = 0;
    for (int64_t i = 0; i < 8; ++i) square += std::pow(x[row][i].item<double>(), 2) / 8;
    for (int64_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(y[row][i].item<double>(), x[row][i].item<double>() / std::sqrt(square + 1e-6) * w[i].item<double>(),
                  1e-5);
    }
  }
}

TEST(Rotary, RotatesPairsByPositionTimesFrequency) {
  const RotaryEmbedding rotary(8, 10000.0, 32, at::kCPU);
  const at::Tensor x = test::gaussian({1, 1, 1, 8}, 5);
  const at::Tensor y = rotary.apply(x, 7);
  for (int64_t i = 0; i < 4; ++i) {
    const double angle = 7 * std::pow(10000.0, -2.0 * static_cast<double>(i) / 8);
    const double a = x[0][0][0][i].item<double>(), b = x[0][0][0][i + 4].item<double>();
    EXPECT_NEAR(y[0][0][0][i].item<double>(), a * std::cos(angle) - b * std::sin(angle), 1e-5);
    EXPECT_NEAR(y[0][0][0][i + 4].item<double>(), b * std::cos(angle) + a * std::sin(angle), 1e-5);
  }
}

}  // namespace
}  // namespace aqlm_exp::model
