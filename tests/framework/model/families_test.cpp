// Every family against tiny random checkpoints and the logits that transformers gives for them
// (tests/golden/make_families.py).
#include "framework/checkpoint/families.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "framework/model/mapped_weight.h"
#include "framework/model/model.h"

namespace aqlm_exp::model {
namespace {

namespace fs = std::filesystem;

fs::path golden_root() { return fs::path(AQLM_EXP_SOURCE_DIR) / "tests" / "golden" / "families"; }

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(golden_root())) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

struct Golden {
  at::Tensor ids;           // [1, tokens]
  at::Tensor short_logits;  // [short, vocab]: of a call with the first tokens only
  at::Tensor long_logits;   // [tokens, vocab]
};

Golden golden_of(const fs::path& folder) {
  const auto file = checkpoint::Checkpoint::open(folder / "golden.safetensors");
  return {read_tensor(file, "input_ids").view({1, -1}), read_tensor(file, "logits_short"),
          read_tensor(file, "logits_long")};
}

double worst(const at::Tensor& logits, const at::Tensor& expected) {
  return (logits.squeeze(0) - expected).abs().max().item<double>();
}

class FamilyGolden : public testing::TestWithParam<std::string> {
 protected:
  FamilyGolden() { at::set_num_threads(1); }  // matrices are too small to share
  fs::path folder() const { return golden_root() / GetParam(); }
};

// The same float32 arithmetic in another order: 1e-5 of logits up to 20 is about what is seen; asked for is 1e-3.
constexpr double kTolerance = 1e-4;

TEST_P(FamilyGolden, LogitsAreThoseOfTransformers) {
  const c10::NoGradGuard no_grad;
  const Golden golden = golden_of(folder());
  const Model model = load_model(folder(), at::kCPU);
  const int64_t few = golden.short_logits.size(0);
  EXPECT_LE(worst(model.forward(golden.ids.slice(1, 0, few)), golden.short_logits), kTolerance);
  EXPECT_LE(worst(model.forward(golden.ids), golden.long_logits), kTolerance);
  EXPECT_LE(worst(model.forward(golden.ids.slice(1, 0, few)), golden.short_logits), kTolerance);  // no state is kept
}

TEST_P(FamilyGolden, StreamedWeightsGiveTheSameLogits) {
  const c10::NoGradGuard no_grad;
  const Golden golden = golden_of(folder());
  const Model held = load_model(folder(), at::kCPU);
  const Model streamed = load_model(folder(), at::kCPU, {.stream = true});
  EXPECT_TRUE(streamed.forward(golden.ids).equal(held.forward(golden.ids)));
  EXPECT_EQ(model_bits(streamed).total_bits(), model_bits(held).total_bits());
}

TEST_P(FamilyGolden, CachedForwardEqualsTheWholeSequence) {
  const c10::NoGradGuard no_grad;
  const Golden golden = golden_of(folder());
  const Model model = load_model(folder(), at::kCPU);
  const auto rope = model.config.rope.type;
  const bool by_length = rope == checkpoint::RopeType::kDynamic || rope == checkpoint::RopeType::kLongRope;
  const int64_t total = by_length ? golden.short_logits.size(0) : golden.ids.size(1);  // below the limit: one rotation
  const at::Tensor whole = model.forward(golden.ids.slice(1, 0, total));
  KvCache cache = model.make_cache(1, total);
  int64_t start = 0;
  for (const int64_t part : {total - 6, int64_t{1}, int64_t{3}, int64_t{2}}) {
    const at::Tensor logits = model.logits(model.forward_cached(golden.ids.slice(1, start, start + part), cache));
    EXPECT_TRUE(at::allclose(logits, whole.slice(1, start, start + part), 1e-4, 1e-4)) << start << " + " << part;
    start += part;
  }
}

TEST_P(FamilyGolden, HalfPrecisionStaysNearFloat32) {
  const c10::NoGradGuard no_grad;
  const Golden golden = golden_of(folder());
  const Model model = load_model(folder(), at::kCPU, {.dtype = at::kBFloat16});
  const at::Tensor hidden = model.embed(golden.ids);
  EXPECT_EQ(hidden.scalar_type(), at::kBFloat16);
  EXPECT_EQ(model.blocks[0].forward(hidden, *model.rotary).scalar_type(), at::kBFloat16);
  const at::Tensor logits = model.forward(golden.ids).squeeze(0);
  EXPECT_EQ(logits.scalar_type(), at::kFloat);
  // Mean over all logits: bfloat16 keeps 8 bits, and a few dozen roundings add up.
  const double error = (logits - golden.long_logits).square().mean().sqrt().item<double>();
  const double size = golden.long_logits.square().mean().sqrt().item<double>();
  EXPECT_LE(error, 0.15 * size);
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, FamilyGolden, testing::ValuesIn(golden_names()), test_name);

TEST(Families, EachHasAGoldenCheckpoint) {
  std::set<std::string> seen;
  for (const std::string& name : golden_names()) {
    seen.insert(checkpoint::load_model_config(golden_root() / name).model_type);
  }
  for (const std::string& type : checkpoint::known_model_types()) EXPECT_EQ(seen.count(type), 1U) << type;
}

}  // namespace
}  // namespace aqlm_exp::model
