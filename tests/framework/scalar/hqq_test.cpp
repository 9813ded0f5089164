#include "framework/scalar/hqq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.h"
#include "tests/framework/scalar/fixtures.h"

namespace aqlm_exp::scalar {
namespace {

using testing::weights;

HqqVariant variant_of(const std::string& name) {
  return name == "legacy" ? HqqVariant::kLegacy : name == "v2" ? HqqVariant::kV2 : HqqVariant::kSlow;
}

TEST(Hqq, MatchesThePackage) {
  for (const auto& golden : testing::goldens()["hqq"]) {
    SCOPED_TRACE(golden["variant"].get<std::string>() + " " + golden["nbits"].dump() + " bits, group " +
                 golden["group_size"].dump() + ", axis " + golden["axis"].dump());
    const HqqResult result = hqq(weights(11, 24, 128), {.nbits = golden["nbits"],
                                                        .group_size = golden["group_size"],
                                                        .axis = golden["axis"],
                                                        .variant = variant_of(golden["variant"])});
    // 100 float32 iterations on another vector width may turn a few roundings.
    EXPECT_LT(testing::mismatch(result.code.codes, testing::codes_from_hex(golden["codes"], 24, 128)), 0.002);
    const at::Tensor scales = testing::floats(golden["scales"], result.code.scales.sizes());
    EXPECT_LT(testing::relative_diff(result.code.scales, scales), testing::kHalfTolerance);
    const at::Tensor zeros = testing::floats(golden["zeros"], result.code.zero_points.sizes());
    EXPECT_LT(testing::relative_diff(result.code.zero_points, zeros), 2 * testing::kHalfTolerance);
    EXPECT_EQ(result.code.bits().code_bits, golden["packed_bytes"].get<int64_t>() * 8);
  }
}

double l1(const at::Tensor& weight, const HqqOptions& options) { return hqq(weight, options).error; }

TEST(Hqq, BestStepIsNeverWorseThanItsStart) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const at::Tensor weight = weights(seed, 16, 64);
    for (const int64_t nbits : {1, 2, 3, 4, 8}) {
      HqqOptions options{.nbits = nbits, .group_size = 16, .variant = HqqVariant::kV2};
      const double optimised = l1(weight, options);
      options.optimise = false;
      EXPECT_LE(optimised, l1(weight, options)) << nbits << " bits, seed " << seed;
    }
  }
}

TEST(Hqq, BestStepIsNeverWorseThanTheLastOne) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const at::Tensor weight = weights(seed, 16, 64);
    EXPECT_LE(l1(weight, {.nbits = 3, .group_size = 32, .variant = HqqVariant::kV2}),
              l1(weight, {.nbits = 3, .group_size = 32, .variant = HqqVariant::kLegacy}) * (1 + 1e-6));
  }
}

TEST(Hqq, OptimisingLowersTheErrorOfLowBits) {
  const at::Tensor weight = weights(3, 64, 128);
  for (const int64_t axis : {0, 1}) {
    const double start = l1(weight, {.nbits = 2, .group_size = 64, .axis = axis, .optimise = false});
    EXPECT_LT(l1(weight, {.nbits = 2, .group_size = 64, .axis = axis}), 0.98 * start);
  }
}

TEST(Hqq, RepresentsValuesOnItsGridExactly) {
  // Group range 15 steps of 1/8, starting at -1: codes and zero point are whole numbers.
  const at::Tensor weight = (at::arange(64).remainder(16).to(at::kFloat) / 8 - 1).reshape({2, 32});
  const HqqResult result = hqq(weight, {.nbits = 4, .group_size = 16});
  EXPECT_EQ(testing::max_abs_diff(result.code.dequantise(), weight), 0);
}

TEST(Hqq, ConstantGroupsSurvive) {
  const at::Tensor weight = at::full({4, 32}, 0.25f);
  const HqqResult result = hqq(weight, {.nbits = 4, .group_size = 16});
  EXPECT_TRUE(at::isfinite(result.code.dequantise()).all().item<bool>());
  EXPECT_TRUE(
      at::isfinite(hqq(at::zeros({4, 32}), {.nbits = 2, .group_size = 16}).code.dequantise()).all().item<bool>());
}

TEST(Hqq, AxisZeroGroupsLieAcrossRows) {
  // 8 rows in two interleaved sets of a group of 4 a column: element (r, c) belongs to group (r mod 2, c).
  at::Tensor weight = at::zeros({8, 6});
  for (int64_t r = 0; r < 8; ++r)
    weight[r].fill_(r % 2 == 0 ? 1.0 + 0.1 * static_cast<double>(r) : -100.0 - static_cast<double>(r));
  const HqqResult result = hqq(weight, {.nbits = 8, .group_size = 4, .axis = 0});
  EXPECT_EQ(result.code.scales.numel(), 12);
  // Even rows span 0.6: a grid of 255 steps over their own group resolves them far below the odd rows' range of 6.
  EXPECT_LT(testing::max_abs_diff(result.code.dequantise()[2], weight[2]), 0.01);
}

TEST(Hqq, ZeroPointsAreRealNumbers) {
  const at::Tensor zeros = hqq(weights(5, 16, 64), {.nbits = 4}).code.zero_points;
  ASSERT_EQ(zeros.scalar_type(), at::kHalf);
  EXPECT_GT(testing::max_abs_diff(zeros, zeros.to(at::kFloat).round()), 0.01);
}

TEST(Hqq, RejectsWhatDoesNotFit) {
  const at::Tensor weight = weights(6, 8, 48);
  EXPECT_THROW(hqq(weight, {.nbits = 4, .group_size = 64}), DataError);
  EXPECT_THROW(hqq(weight, {.nbits = 7, .group_size = 16}), ConfigError);
  EXPECT_THROW(hqq(weight, {.nbits = 4, .group_size = 16, .axis = 2}), ConfigError);
  EXPECT_NO_THROW(hqq(weight, {.nbits = 4, .group_size = -1}));
  EXPECT_NO_THROW(hqq(weight, {.nbits = 4, .group_size = -1, .axis = 0}));
}

}  // namespace
}  // namespace aqlm_exp::scalar
