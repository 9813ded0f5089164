#include "framework/method/bit_allocation.h"

#include <gtest/gtest.h>

#include <limits>

#include "framework/base/error.h"
#include "framework/base/rng.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::method {
namespace {

using Curves = std::vector<std::vector<BitChoice>>;

Curves random_curves(size_t num_linears, size_t num_choices, uint64_t seed) {
  Rng rng(seed);
  Curves curves(num_linears);
  for (auto& curve : curves) {
    for (size_t c = 0; c < num_choices; ++c) {
      curve.push_back({static_cast<int64_t>(1 + rng.below(40)) * 8, rng.uniform()});
    }
  }
  return curves;
}

double best_of_all(const Curves& curves, int64_t budget, size_t at = 0) {
  if (at == curves.size()) return budget >= 0 ? 0.0 : std::numeric_limits<double>::infinity();
  double best = std::numeric_limits<double>::infinity();
  for (const BitChoice& choice : curves[at]) {
    best = std::min(best, choice.error + best_of_all(curves, budget - choice.bits, at + 1));
  }
  return best;
}

TEST(BitAllocation, MatchesBruteForceWithinItsBudget) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Curves curves = random_curves(6, 4, seed);
    for (const int64_t budget : {700, 1000, 1500}) {
      if (best_of_all(curves, budget) == std::numeric_limits<double>::infinity()) {
        EXPECT_THROW(allocate_bits(curves, budget), ConfigError);
        continue;
      }
      const BitPlan plan = allocate_bits(curves, budget);
      EXPECT_LE(plan.bits, budget);
      EXPECT_NEAR(plan.error, best_of_all(curves, budget), 1e-12);
      int64_t bits = 0;
      for (size_t i = 0; i < curves.size(); ++i) bits += curves[i][plan.choice[i]].bits;
      EXPECT_EQ(bits, plan.bits);
    }
  }
}

TEST(BitAllocation, SpendsWhereErrorFallsMost) {
  const Curves curves = {{{100, 1.0}, {200, 0.9}}, {{100, 1.0}, {200, 0.1}}};
  EXPECT_EQ(allocate_bits(curves, 300).choice, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(allocate_bits(curves, 200).choice, (std::vector<size_t>{0, 0}));
  EXPECT_EQ(allocate_bits(curves, 400).choice, (std::vector<size_t>{1, 1}));
}

TEST(BitAllocation, TakesFewerBitsWhereErrorsTie) {
  EXPECT_EQ(allocate_bits({{{300, 0.5}, {100, 0.5}, {200, 0.5}}}, 1000).choice, (std::vector<size_t>{1}));
}

TEST(BitAllocation, KeepsTheBudgetWithUnitsTooFineForExactness) {
  Curves curves = random_curves(50, 3, 4);
  for (auto& curve : curves) {
    for (BitChoice& choice : curve) choice.bits = choice.bits * 1000003 + static_cast<int64_t>(choice.error * 1000);
  }
  int64_t budget = 0;
  for (const auto& curve : curves) budget += (curve[0].bits + curve[1].bits + curve[2].bits) / 3;
  EXPECT_LE(allocate_bits(curves, budget).bits, budget);
}

std::unique_ptr<Method> make_method(const std::string& json) {
  const config::Node root = config::from_json(json, "test");
  config::Reader reader(root);
  return reader.variant<Method>("method.type", methods());
}

class Allocates : public testing::TestWithParam<const char*> {};

TEST_P(Allocates, MeetsItsBudgetWithDifferentBitsForDifferentLinears) {
  model::Model model = test::tiny_model(1);
  Context context(1);
  make_method(GetParam())->quantise(model, {(at::arange(4 * 16) * 13 % 50).view({4, 16})}, context);
  double least = 1e9, most = 0;
  for (const LayerReport& layer : context.layers) {
    least = std::min(least, layer.metrics.at("bits_per_weight"));
    most = std::max(most, layer.metrics.at("bits_per_weight"));
  }
  EXPECT_LT(least, most);
  EXPECT_LE(model::quantised_bits(model).per_weight(), 5.0);
  EXPECT_GE(model::quantised_bits(model).per_weight(), 3.9);  // codebooks make large steps on linears this small
  EXPECT_NEAR(model::quantised_bits(model).per_weight(), context.metrics.at("allocation_bits_per_weight"), 1e-9);
}

INSTANTIATE_TEST_SUITE_P(
    Methods, Allocates,
    testing::Values(R"({"method":{"type":"aqlm"},"encoder":{"type":"ldlq"},"tuner":{"type":"least_squares"},
        "objective":{"damping":0.1},"schedule":{"steps":"D L"},"codebook":{"type":"residual_kmeans","max_iter":5},
        "allocation":{"target_bits":5.0,"choices":[
          {"num_codebooks":1,"nbits_per_codebook":3,"in_group_size":8},
          {"num_codebooks":2,"nbits_per_codebook":3,"in_group_size":8},
          {"num_codebooks":2,"nbits_per_codebook":4,"in_group_size":4}]}})",
                    R"({"method":{"type":"gptq"},"allocation":{"target_bits":5.0,"choices":[
          {"nbits":2,"group_size":16},{"nbits":3,"group_size":16},{"nbits":8,"group_size":16}]}})",
                    R"({"method":{"type":"rtn"},"allocation":{"target_bits":5.0,"choices":[
          {"nbits":2,"group_size":16},{"nbits":3,"group_size":16},{"nbits":8,"group_size":16}]}})"));

}  // namespace
}  // namespace aqlm_exp::method
