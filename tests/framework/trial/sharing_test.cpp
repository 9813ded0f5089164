// What trials of one sweep share, and what an interrupted trial keeps: the numbers are the same with and without.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "framework/trial/shared_work.h"
#include "tests/framework/results/temp_dir.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::trial {
namespace {

using method::Context;

constexpr const char* kAqlm =
    R"({"method":{"type":"aqlm"},"quant":{"num_codebooks":2,"nbits_per_codebook":4,"in_group_size":8},
  "codebook":{"type":"residual_kmeans","max_iter":5},"tuner":{"type":"adam","steps":5,"lr":0.001},
  "schedule":{"max_rounds":2},"finetune":{"type":"block_mse","epochs":2,"batch_size":2,"lr":0.003}})";
constexpr const char* kGptq = R"({"method":{"type":"gptq"},"quant":{"nbits":3,"group_size":16}})";
constexpr const char* kGptqSequential =
    R"({"method":{"type":"gptq","true_sequential":true},"quant":{"nbits":3,"group_size":16}})";
constexpr const char* kAwq = R"({"method":{"type":"awq"},"quant":{"nbits":3,"group_size":16}})";
constexpr const char* kAwq4 = R"({"method":{"type":"awq"},"quant":{"nbits":4,"group_size":16}})";

method::Calibration calibration(bool original = false) {
  return {.input_ids = (at::arange(4 * 16) * 13 % 50).view({4, 16}), .original_activations = original};
}

struct Quantised {
  model::Model model;
  Context context{7};
};

/// Quantises the model of two blocks. @param stop_after blocks after which the trial is "killed"; -1: never
Quantised quantise(const std::string& json, method::CalibrationCache* cache = nullptr,
                   method::BlockCheckpoints* checkpoints = nullptr, bool original = false) {
  const config::Node root = config::from_json(json, "test");
  config::Reader reader(root);
  Quantised result{.model = test::tiny_model(1).clone()};
  result.context.cache = cache;
  result.context.checkpoints = checkpoints;
  reader.variant<method::Method>("method.type", method::methods())
      ->quantise(result.model, calibration(original), result.context);
  return result;
}

void expect_same(const Quantised& a, const Quantised& b) {
  const c10::NoGradGuard no_grad;
  const auto left = a.model.linears(), right = b.model.linears();
  for (size_t i = 0; i < left.size(); ++i) {
    EXPECT_EQ(left[i]->weight->format(), right[i]->weight->format());
    EXPECT_TRUE(left[i]->weight->dequantise().equal(right[i]->weight->dequantise())) << left[i]->name;
  }
  for (size_t i = 0; i < a.model.blocks.size(); ++i) {
    EXPECT_TRUE(a.model.blocks[i].input_norm.equal(b.model.blocks[i].input_norm));
    EXPECT_TRUE(a.model.blocks[i].q_proj.bias.equal(b.model.blocks[i].q_proj.bias));
  }
  ASSERT_EQ(a.context.layers.size(), b.context.layers.size());
  for (size_t i = 0; i < a.context.layers.size(); ++i) {
    auto x = a.context.layers[i].metrics, y = b.context.layers[i].metrics;
    x.erase("seconds");
    y.erase("seconds");
    EXPECT_EQ(a.context.layers[i].name, b.context.layers[i].name);
    EXPECT_EQ(x, y) << a.context.layers[i].name;
  }
  ASSERT_EQ(a.context.curves.size(), b.context.curves.size());
  for (size_t i = 0; i < a.context.curves.size(); ++i) {
    EXPECT_EQ(a.context.curves[i].name, b.context.curves[i].name);
    EXPECT_EQ(a.context.curves[i].of, b.context.curves[i].of);
    EXPECT_EQ(a.context.curves[i].losses, b.context.curves[i].losses) << a.context.curves[i].name;
  }
  EXPECT_EQ(a.context.metrics, b.context.metrics);
  EXPECT_EQ(a.context.notes, b.context.notes);
}

TEST(Sharing, ASecondMethodRunsNoUnquantisedBlockThatTheFirstHasRun) {
  TempDir dir;
  SweepCache cache(dir.path(), 1 << 30);
  SharedCalibration shared(cache, "tiny");
  const Quantised first = quantise(kGptq, &shared), second = quantise(kAqlm, &shared);
  EXPECT_EQ(first.context.passes.computed, 1) << "block 0; block 1 sees the quantised block 0";
  EXPECT_EQ(second.context.passes.computed, 0);
  EXPECT_EQ(second.context.passes.shared, 1);
  const Quantised awq = quantise(kAwq, &shared), awq4 = quantise(kAwq4, &shared);
  EXPECT_EQ(awq.context.passes.computed, 1);
  EXPECT_EQ(awq.context.passes.shared, 1);
  EXPECT_EQ(awq4.context.passes.computed, 0);
  EXPECT_EQ(awq4.context.passes.own, 0);
  EXPECT_EQ(awq4.context.passes.shared, 2);
}

TEST(Sharing, OnOriginalActivationsASecondMethodRunsNoPassAtAll) {
  for (const char* first : {kGptq, kAqlm, kAwq}) {
    TempDir dir;
    SweepCache cache(dir.path(), 1 << 30);
    SharedCalibration shared(cache, "tiny");
    EXPECT_EQ(quantise(first, &shared, nullptr, true).context.passes.computed, 2);
    for (const char* second : {kGptq, kAqlm, kAwq, kAwq4}) {
      const Quantised result = quantise(second, &shared, nullptr, true);
      EXPECT_EQ(result.context.passes.computed, 0) << first << second;
      EXPECT_EQ(result.context.passes.own, 0) << first << second;
    }
  }
}

TEST(Sharing, NumbersAreTheSameWithAndWithoutIt) {
  TempDir dir;
  SweepCache cache(dir.path(), 1 << 30);
  SharedCalibration shared(cache, "tiny");
  for (const bool original : {false, true}) {
    for (const char* method : {kGptq, kGptqSequential, kAqlm, kAwq}) {
      const Quantised alone = quantise(method, nullptr, nullptr, original);
      expect_same(alone, quantise(method, &shared, nullptr, original));
      expect_same(alone, quantise(method, &shared, nullptr, original));
    }
  }
}

TEST(Sharing, HowExpertsAreCalibratedIsPartOfAnItem) {
  const auto quantise_moe = [](SharedCalibration& shared, method::ExpertCalibration experts) {
    const config::Node root = config::from_json(kGptq, "test");
    config::Reader reader(root);
    Quantised result{.model = model::load_model(
                         std::filesystem::path(AQLM_EXP_SOURCE_DIR) / "tests/golden/families/qwen2-moe", at::kCPU)};
    result.context.cache = &shared;
    const method::Calibration data{
        .input_ids = (at::arange(4 * 16) * 13 % 40).view({4, 16}), .original_activations = true, .experts = experts};
    reader.variant<method::Method>("method.type", method::methods())->quantise(result.model, data, result.context);
    return result;
  };
  TempDir dir, other_dir;
  SweepCache cache(dir.path(), 1 << 30), other_cache(other_dir.path(), 1 << 30);
  SharedCalibration shared(cache, "moe"), other(other_cache, "moe");
  const Quantised first = quantise_moe(shared, {});
  const auto num_blocks = static_cast<int64_t>(first.model.blocks.size());
  EXPECT_EQ(first.context.passes.computed, num_blocks);
  for (const method::ExpertCalibration& experts :
       {method::ExpertCalibration{.all_tokens = true}, method::ExpertCalibration{.min_tokens = 20}}) {
    const Quantised next = quantise_moe(shared, experts);
    EXPECT_EQ(next.context.passes.shared, 0) << "routed tokens' statistics are not these";
    expect_same(quantise_moe(other, experts), next);
    const Quantised again = quantise_moe(shared, experts);
    EXPECT_EQ(again.context.passes.shared, num_blocks);
    expect_same(next, again);
  }
}

TEST(Sharing, OriginalActivationsAreAnotherCalibration) {
  const Quantised usual = quantise(kGptq), original = quantise(kGptq, nullptr, nullptr, true);
  EXPECT_TRUE(
      usual.model.blocks[0].q_proj.weight->dequantise().equal(original.model.blocks[0].q_proj.weight->dequantise()));
  EXPECT_FALSE(usual.model.blocks[1].down_proj.weight->dequantise().equal(
      original.model.blocks[1].down_proj.weight->dequantise()));
}

/// Checkpoints in memory; the trial is "killed" when it saves the block `fatal`.
class Interrupted final : public method::BlockCheckpoints {
 public:
  explicit Interrupted(int64_t fatal) : fatal_(fatal) {}
  std::optional<method::TensorMap> load(int64_t block, at::Device) override {
    const auto found = stored.find(block);
    return found == stored.end() ? std::nullopt : std::optional(found->second);
  }
  void save(int64_t block, method::TensorMap tensors) override {
    for (auto& [name, tensor] : tensors) tensor = tensor.clone();
    stored[block] = std::move(tensors);
    if (block == fatal_) throw std::runtime_error("killed");
  }
  std::map<int64_t, method::TensorMap> stored;

 private:
  int64_t fatal_;
};

TEST(Checkpoints, AnInterruptedTrialGoesOnBehindItsFinishedBlocksWithTheSameNumbers) {
  for (const bool original : {false, true}) {
    for (const char* method : {kGptq, kGptqSequential, kAqlm, kAwq}) {
      SCOPED_TRACE(method);
      Interrupted checkpoints(0);
      EXPECT_THROW(quantise(method, nullptr, &checkpoints, original), std::runtime_error);
      ASSERT_EQ(checkpoints.stored.size(), 1u);
      const Quantised resumed = quantise(method, nullptr, &checkpoints, original);
      EXPECT_EQ(resumed.context.blocks_restored, 1);
      expect_same(quantise(method, nullptr, nullptr, original), resumed);
      const Quantised again = quantise(method, nullptr, &checkpoints, original);
      EXPECT_EQ(again.context.blocks_restored, 2);
      expect_same(resumed, again);
    }
  }
}

TEST(Checkpoints, ThoseThatDoNotFitAreNotUsed) {
  Interrupted checkpoints(-1);
  quantise(kGptq, nullptr, &checkpoints);
  checkpoints.stored[0].erase("q_proj.codes");
  const Quantised result = quantise(kGptq, nullptr, &checkpoints);
  EXPECT_EQ(result.context.blocks_restored, 0);
  expect_same(quantise(kGptq), result);
}

}  // namespace
}  // namespace aqlm_exp::trial
