#include "framework/scalar/grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "tests/framework/scalar/fixtures.h"

namespace aqlm_exp::scalar {
namespace {

using testing::weights;

/// One group by design/rivals.md 2.1, in plain float arithmetic.
std::pair<float, float> plain_gptq_grid(const std::vector<float>& w, int nbits, bool symmetric) {
  const float top = static_cast<float>((1 << nbits) - 1);
  float lo = 0, hi = 0;
  for (const float v : w) {
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (symmetric) {
    hi = std::max(std::fabs(lo), hi);
    if (lo < 0) lo = -hi;
  }
  if (lo == 0 && hi == 0) {
    lo = -1;
    hi = 1;
  }
  const float scale = (hi - lo) / top;
  return {scale, symmetric ? (top + 1) / 2 : std::nearbyint(-lo / scale)};
}

std::vector<float> row_of(const at::Tensor& groups, int64_t row) {
  const at::Tensor values = groups[row].contiguous();
  return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
}

TEST(GptqGrid, MatchesTheFormulaGroupByGroup) {
  at::Tensor groups = weights(5, 64, 16).clone();
  groups[1].fill_(0);
  groups[2].abs_();  // all positive
  groups[3].copy_(-groups[3].abs());
  groups[4].fill_(0.25);
  for (const bool symmetric : {false, true}) {
    for (const int nbits : {2, 3, 4, 8}) {
      const Grid grid = fit_grid(groups, {.nbits = nbits, .symmetric = symmetric});
      for (int64_t r = 0; r < groups.size(0); ++r) {
        const auto [scale, zero] = plain_gptq_grid(row_of(groups, r), nbits, symmetric);
        EXPECT_FLOAT_EQ(grid.scale[r].item<float>(), scale);
        EXPECT_EQ(grid.zero[r].item<float>(), zero) << "row " << r;
      }
    }
  }
}

TEST(GptqGrid, KeepsZeroExact) {
  at::Tensor weight = weights(6, 32, 64);
  weight.slice(1, 0, 8).fill_(0);
  const ScalarCode code = rtn(weight, 16, {.nbits = 3});
  EXPECT_EQ(code.dequantise().slice(1, 0, 8).abs().max().item<float>(), 0);
}

TEST(GptqGrid, MseSearchTakesTheFirstSmallestSum) {
  const at::Tensor groups = weights(7, 24, 32);
  for (const bool symmetric : {false, true}) {
    const Grid found = fit_grid(groups, {.nbits = 3, .symmetric = symmetric, .mse = true});
    int64_t shrunk = 0;
    for (int64_t r = 0; r < groups.size(0); ++r) {
      const auto w = row_of(groups, r);
      float lo = *std::min_element(w.begin(), w.end()), hi = *std::max_element(w.begin(), w.end());
      lo = std::min(lo, 0.0f);
      hi = std::max(hi, 0.0f);
      if (symmetric) {
        hi = std::max(-lo, hi);
        lo = lo < 0 ? -hi : 0;
      }
      double best = INFINITY;
      float best_scale = 0;
      for (int i = 0; i < 80; ++i) {
        const float p = static_cast<float>(1 - i / 100.0);
        const float scale = (p * hi - p * lo) / 7, zero = symmetric ? 4 : std::nearbyint(-(p * lo) / scale);
        double sum = 0;
        for (const float v : w) {
          const float q = std::clamp(std::nearbyint(v / scale) + zero, 0.0f, 7.0f);
          sum += std::pow(std::fabs(static_cast<double>(scale * (q - zero)) - v), 2.4);
        }
        if (sum < best * (1 - 1e-6)) {  // float32 sums may order near-ties differently
          best = sum;
          best_scale = scale;
        }
      }
      shrunk += best_scale < (hi - lo) / 7 * 0.999f;
      EXPECT_NEAR(found.scale[r].item<float>(), best_scale, 1e-5 * best_scale) << "row " << r;
    }
    EXPECT_GT(shrunk, 0) << "the search never left its starting point";
  }
}

TEST(AwqGrid, DoesNotForceZeroIntoTheRange) {
  const at::Tensor groups = at::linspace(1.0, 2.0, 16).reshape({1, 16});
  const Grid awq = fit_grid(groups, {.kind = GridKind::kAwq, .nbits = 4});
  EXPECT_NEAR(awq.scale.item<float>(), 1.0 / 15, 1e-6);
  EXPECT_EQ(awq.zero.item<float>(), 0);  // clamped: -15 lies outside the codes
  const Grid gptq = fit_grid(groups, {.kind = GridKind::kGptq, .nbits = 4});
  EXPECT_NEAR(gptq.scale.item<float>(), 2.0 / 15, 1e-6);
}

TEST(AwqGrid, MatchesAutoAwq) {
  for (const auto& golden : testing::goldens()["awq"]) {
    const int64_t nbits = golden["nbits"], group_size = golden["group_size"];
    const bool symmetric = golden["sym"];
    const GridOptions options{.kind = GridKind::kAwq, .nbits = nbits, .symmetric = symmetric};
    const at::Tensor weight = weights(61, 64, 64);
    const Grid grid = fit_row_groups(weight, group_size, options);
    EXPECT_LT(testing::relative_diff(grid.scale, testing::floats(golden["rtn_scales"], {64, -1})),
              testing::kFloatTolerance);
    if (!symmetric) {
      EXPECT_EQ(testing::mismatch(grid.zero, testing::floats(golden["rtn_zeros"], {64, -1})), 0);
    }
    const at::Tensor quantised = pseudo_quantise(weight, group_size, options);
    const at::Tensor expected = testing::floats(golden["rtn"], {4, 64});
    EXPECT_LT(testing::relative_diff(quantised.slice(0, 0, 4), expected), testing::kFloatTolerance);
    const at::Tensor stored = rtn(weight, group_size, options).dequantise();
    EXPECT_LT(testing::relative_diff(stored, quantised), testing::kHalfTolerance);
  }
}

TEST(Rtn, RoundsToTheNearestOfItsGrid) {
  const at::Tensor weight = weights(8, 16, 96);
  for (const GridKind kind : {GridKind::kGptq, GridKind::kAwq}) {
    const ScalarCode code = rtn(weight, 32, {.kind = kind, .nbits = 3});
    const Grid grid = fit_row_groups(weight, 32, {.kind = kind, .nbits = 3});
    for (int64_t r = 0; r < 16; ++r) {
      for (int64_t c = 0; c < 96; ++c) {
        const float s = grid.scale[r][c / 32].item<float>(), z = grid.zero[r][c / 32].item<float>();
        const float w = weight[r][c].item<float>();
        float nearest = INFINITY;
        for (int q = 0; q < 8; ++q) nearest = std::min(nearest, std::fabs(s * (static_cast<float>(q) - z) - w));
        const float q = static_cast<float>(code.codes[r][c].item<uint8_t>());
        EXPECT_LE(std::fabs(s * (q - z) - w), nearest + 1e-6f);
      }
    }
  }
}

TEST(Rtn, LastGroupOfARowMayBeShort) {
  const at::Tensor weight = weights(9, 4, 50);
  const ScalarCode code = rtn(weight, 16, {.nbits = 8});
  EXPECT_EQ(code.scales.size(1), 4);
  EXPECT_LT(testing::relative_diff(code.dequantise(), weight), 0.005);  // half a step of 255, plus float16
  EXPECT_THROW(rtn(weight, 16, {.kind = GridKind::kAwq, .nbits = 8}), DataError);
}

TEST(Rtn, MoreBitsMeanLessError) {
  const at::Tensor weight = weights(10, 32, 128);
  double before = INFINITY;
  for (int64_t nbits = 2; nbits <= 8; ++nbits) {
    const double error = (rtn(weight, 64, {.nbits = nbits}).dequantise() - weight).square().sum().item<double>();
    EXPECT_LT(error, before);
    before = error;
  }
}

}  // namespace
}  // namespace aqlm_exp::scalar
