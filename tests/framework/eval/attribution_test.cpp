#include "framework/eval/attribution.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/eval/evaluate.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::eval {
namespace {

/// A dense weight that counts as quantised.
class NoisyWeight final : public quant::Weight {
 public:
  explicit NoisyWeight(at::Tensor matrix) : dense_(std::move(matrix)) {}
  std::string format() const override { return "noisy"; }
  int64_t out_features() const override { return dense_.out_features(); }
  int64_t in_features() const override { return dense_.in_features(); }
  at::Tensor dequantise() const override { return dense_.dequantise(); }
  quant::BitCount bits() const override { return dense_.bits(); }
  std::unique_ptr<quant::Weight> to(at::Device) const override { return std::make_unique<NoisyWeight>(dequantise()); }

 private:
  quant::DenseWeight dense_;
};

model::Model noisy(const model::Model& original, double noise) {
  model::Model copy = original.clone();
  uint64_t seed = 1;
  for (model::Linear* linear : copy.linears()) {
    const at::Tensor matrix = linear->weight->dequantise();
    linear->weight =
        std::make_shared<NoisyWeight>(matrix + noise * test::gaussian({matrix.size(0), matrix.size(1)}, seed++));
  }
  return copy;
}

WindowSet windows() {
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 40; ++i) ids.push_back(i * 17 % 50);
  return window_set_of(make_windows(ids, {.seq_len = 10, .stride = 10}, at::kCPU));
}

TEST(Attribution, EqualsAModelWithThatOneLinearSwapped) {
  const model::Model original = test::tiny_model(1), quantised = noisy(original, 0.05);
  const WindowSet set = windows();
  const std::vector<Swap> swaps = swap_attribution(original, quantised, set, SwapUnit::kLinear);
  ASSERT_EQ(swaps.size(), 14u);
  for (size_t i = 0; i < swaps.size(); ++i) {
    model::Model swapped = original.clone();
    swapped.linears()[i]->weight = quantised.linears()[i]->weight;
    const auto reference = logits_from_model(original);
    EXPECT_NEAR(swaps[i].kl, *evaluate(swapped, set, reference.get()).kl, 1e-7) << swaps[i].name;
    EXPECT_GT(swaps[i].kl, 0);
    EXPECT_EQ(swaps[i].name, original.linears()[i]->name);
    EXPECT_EQ(swaps[i].block, static_cast<int64_t>(i / 7));
  }
}

TEST(Attribution, EqualsAModelWithThatOneBlockSwapped) {
  const model::Model original = test::tiny_model(1);
  model::Model quantised = noisy(original, 0.05);
  quantised.blocks[0].input_norm = quantised.blocks[0].input_norm * 1.1;
  const WindowSet set = windows();
  const std::vector<Swap> swaps = swap_attribution(original, quantised, set, SwapUnit::kBlock);
  ASSERT_EQ(swaps.size(), 2u);
  for (size_t b = 0; b < 2; ++b) {
    model::Model swapped = original.clone();
    swapped.blocks[b] = quantised.blocks[b];
    const auto reference = logits_from_model(original);
    EXPECT_NEAR(swaps[b].kl, *evaluate(swapped, set, reference.get()).kl, 1e-7);
  }
}

TEST(Attribution, LeavesOutWhatWasNotQuantised) {
  const model::Model original = test::tiny_model(1);
  model::Model quantised = original.clone();
  EXPECT_TRUE(swap_attribution(original, quantised, windows(), SwapUnit::kLinear).empty());
  quantised.linears()[3]->weight = noisy(original, 0.05).linears()[3]->weight;
  const std::vector<Swap> swaps = swap_attribution(original, quantised, windows(), SwapUnit::kLinear);
  ASSERT_EQ(swaps.size(), 1u);
  EXPECT_EQ(swaps[0].name, original.linears()[3]->name);
  EXPECT_EQ(swap_attribution(original, quantised, windows(), SwapUnit::kBlock).size(), 1u);
}

}  // namespace
}  // namespace aqlm_exp::eval
