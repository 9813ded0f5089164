#include "framework/scalar/gptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/base/error.h"
#include "tests/framework/scalar/fixtures.h"

namespace aqlm_exp::scalar {
namespace {

using testing::inputs;
using testing::weights;

at::Tensor hessian_of(const at::Tensor& x) { return x.t().matmul(x) * 2; }

double output_error(const at::Tensor& weight, const at::Tensor& quantised, const at::Tensor& x) {
  return (weight - quantised).matmul(x.t()).square().sum(at::kDouble).item<double>();
}

/// Optimal brain quantisation, column by column in double: after each column the *whole* inverse Hessian is recomputed
/// for the columns that are left (no Cholesky trick, no blocks). Grids are fitted on what the lazily updated matrix of
/// the reference would hold: the state after the last whole block of `block_size` columns.
struct PlainObq {
  at::Tensor dequantised;  // [out, in] double
  double loss = 0;
};

PlainObq plain_obq(const at::Tensor& weight, const at::Tensor& hessian, int64_t nbits, int64_t group_size,
                   int64_t block_size, double damp) {
  const int64_t in = weight.size(1);
  at::Tensor w = weight.to(at::kDouble).clone(), flushed = w.clone();
  at::Tensor h = hessian.to(at::kDouble).clone();
  h.diagonal().add_(damp * hessian.to(at::kDouble).diagonal().mean());
  PlainObq result{at::empty_like(w), 0};
  Grid grid;
  if (group_size == -1) grid = fit_grid(weight, {.nbits = nbits});
  for (int64_t j = 0; j < in; ++j) {
    if (j % block_size == 0) flushed = w.clone();
    if (group_size != -1 && j % group_size == 0) {
      grid = fit_grid(flushed.slice(1, j, std::min(in, j + group_size)).to(at::kFloat), {.nbits = nbits});
    }
    const at::Tensor scale = grid.scale.to(at::kDouble), zero = grid.zero.to(at::kDouble);
    const at::Tensor column = w.select(1, j).clone();
    const at::Tensor q = scale * (at::round(column / scale).add(zero).clamp(0, (1 << nbits) - 1) - zero);
    const at::Tensor inverse = at::linalg_inv(h.slice(0, j).slice(1, j));  // of the columns j..
    const at::Tensor error = (column - q) / inverse[0][0];
    result.loss += ((column - q).square() / inverse[0][0]).sum().item<double>() / 2;
    w.slice(1, j).sub_(error.unsqueeze(1) * inverse[0].unsqueeze(0));
    result.dequantised.select(1, j).copy_(q);
  }
  return result;
}

TEST(Gptq, WithoutCorrelationIsRoundToNearest) {
  const at::Tensor weight = weights(1, 12, 256);
  for (const int64_t group_size : {-1, 32, 100, 128}) {
    const GptqResult result = gptq(weight, at::eye(256) * 3, {.nbits = 3, .group_size = group_size});
    const ScalarCode nearest = rtn(weight, group_size, {.nbits = 3});
    EXPECT_TRUE(result.code.codes.equal(nearest.codes)) << group_size;
    EXPECT_TRUE(result.code.scales.equal(nearest.scales));
    EXPECT_TRUE(result.code.zero_points.equal(nearest.zero_points));
  }
}

struct Shape {
  int64_t in, group_size, block_size;
};

TEST(Gptq, MatchesOptimalBrainQuantisationColumnByColumn) {
  for (const Shape& s : {Shape{24, -1, 128},
                         {24, 8, 128},
                         {24, 8, 8},
                         {24, 16, 8},
                         {30, 12, 5},
                         {127, -1, 128},
                         {128, 32, 128},
                         {129, 32, 128},
                         {129, -1, 128},
                         {160, 64, 64},
                         {160, 64, 48},
                         {257, 256, 128}}) {
    const at::Tensor weight = weights(2, 6, s.in);
    const at::Tensor hessian = hessian_of(inputs(3, 4 * s.in, s.in));
    const GptqResult result =
        gptq(weight, hessian, {.nbits = 4, .group_size = s.group_size, .block_size = s.block_size});
    const PlainObq plain = plain_obq(weight, hessian, 4, s.group_size, s.block_size, 0.01);
    // One code that float32 rounds the other way moves all later ones of its row: allow a stray row, not a rule.
    const at::Tensor differs = (result.code.dequantise().to(at::kDouble) - plain.dequantised).abs() >
                               testing::kHalfTolerance * plain.dequantised.abs().amax() * 2;
    EXPECT_LE(differs.any(1).sum().item<int64_t>(), 1) << "in " << s.in << " group " << s.group_size;
    EXPECT_NEAR(result.loss, plain.loss, 0.02 * plain.loss);
  }
}

TEST(Gptq, BlockSizeDoesNotMatterWithGridsFixedBeforehand) {
  const at::Tensor weight = weights(4, 8, 130);
  const at::Tensor hessian = hessian_of(inputs(5, 600, 130));
  const GptqResult whole = gptq(weight, hessian, {.nbits = 3, .group_size = 32, .static_groups = true});
  for (const int64_t block_size : {1, 7, 64, 129, 130, 1000}) {
    const GptqResult other =
        gptq(weight, hessian, {.nbits = 3, .group_size = 32, .static_groups = true, .block_size = block_size});
    EXPECT_LT(testing::mismatch(other.code.codes, whole.code.codes), 0.02) << block_size;
    EXPECT_NEAR(other.loss, whole.loss, 0.005 * whole.loss);
  }
}

TEST(Gptq, LowersTheOutputErrorOfRoundToNearest) {
  const at::Tensor weight = weights(6, 32, 192), x = inputs(7, 1024, 192);
  for (const bool desc_act : {false, true}) {
    for (const bool static_groups : {false, true}) {
      for (const int64_t nbits : {2, 3, 4}) {
        const GptqResult result =
            gptq(weight, hessian_of(x),
                 {.nbits = nbits, .group_size = 64, .desc_act = desc_act, .static_groups = static_groups});
        const double nearest = output_error(weight, rtn(weight, 64, {.nbits = nbits}).dequantise(), x);
        EXPECT_LT(output_error(weight, result.code.dequantise(), x), 0.8 * nearest);
      }
    }
  }
}

TEST(Gptq, LossIsTheDampedOutputErrorWhenNothingIsLeftToCorrect) {
  // With every error carried on, sum (w-q)^2 / (2 U^2) = tr((W-Q) H (W-Q)^T) / 2 for the damped H.
  const at::Tensor weight = weights(8, 5, 96), hessian = hessian_of(inputs(9, 500, 96));
  const GptqResult result = gptq(weight, hessian, {.nbits = 4, .group_size = 32, .static_groups = true});
  const Grid grid = fit_row_groups(weight, 32, {.nbits = 4});
  const at::Tensor columns = at::arange(96, at::kLong).floor_divide(32);
  const at::Tensor exact =
      grid.scale.index_select(1, columns) * (result.code.codes.to(at::kFloat) - grid.zero.index_select(1, columns));
  at::Tensor damped = hessian.to(at::kDouble).clone();
  damped.diagonal().add_(0.01 * damped.diagonal().mean());
  const at::Tensor difference = (weight - exact).to(at::kDouble);
  const double expected = 0.5 * (difference.matmul(damped) * difference).sum().item<double>();
  EXPECT_NEAR(result.loss, expected, 1e-3 * expected);
}

TEST(Gptq, ActOrderWithStaticGroupsKeepsPlainStorage) {
  const at::Tensor weight = weights(10, 8, 128), hessian = hessian_of(inputs(11, 512, 128));
  const GptqResult plain =
      gptq(weight, hessian, {.nbits = 4, .group_size = 32, .desc_act = true, .static_groups = true});
  EXPECT_FALSE(plain.code.g_idx.defined());
  EXPECT_TRUE(plain.code.scales.equal(rtn(weight, 32, {.nbits = 4}).scales));
  const GptqResult dynamic = gptq(weight, hessian, {.nbits = 4, .group_size = 32, .desc_act = true});
  ASSERT_TRUE(dynamic.code.g_idx.defined());
  const at::Tensor sizes = at::bincount(dynamic.code.g_idx.to(at::kLong));
  EXPECT_TRUE(sizes.equal(at::full({4}, 32, at::kLong)));
}

TEST(Gptq, ActOrderEqualsPermutingByHand) {
  const at::Tensor weight = weights(12, 8, 96), hessian = hessian_of(inputs(13, 512, 96));
  const at::Tensor order = at::argsort(hessian.diagonal(), true, 0, true);
  const GptqResult act = gptq(weight, hessian, {.nbits = 3, .group_size = 32, .desc_act = true});
  const GptqResult by_hand = gptq(weight.index_select(1, order), hessian.index_select(0, order).index_select(1, order),
                                  {.nbits = 3, .group_size = 32});
  EXPECT_TRUE(act.code.dequantise().index_select(1, order).equal(by_hand.code.dequantise()));
}

TEST(Gptq, DeadColumnsBecomeZero) {
  const at::Tensor weight = weights(14, 8, 64);
  at::Tensor x = inputs(15, 300, 64);
  x.select(1, 3).fill_(0);
  x.select(1, 63).fill_(0);
  for (const int64_t group_size : {-1, 16}) {
    const GptqResult result = gptq(weight, hessian_of(x), {.nbits = 4, .group_size = group_size});
    EXPECT_EQ(result.num_dead_columns, 2);
    EXPECT_EQ(result.code.dequantise().select(1, 3).abs().max().item<float>(), 0);
    EXPECT_EQ(result.code.dequantise().select(1, 63).abs().max().item<float>(), 0);
  }
}

TEST(Gptq, DoesNotChangeItsArguments) {
  at::Tensor x = inputs(15, 300, 64);
  x.select(1, 3).fill_(0);
  const at::Tensor weight = weights(14, 8, 64), hessian = hessian_of(x);
  const at::Tensor weight_before = weight.clone(), hessian_before = hessian.clone();
  gptq(weight, hessian, {.nbits = 4, .desc_act = true});
  EXPECT_TRUE(weight.equal(weight_before) && hessian.equal(hessian_before));
}

TEST(Gptq, ScaleOfTheHessianCancels) {
  const at::Tensor weight = weights(16, 8, 64), hessian = hessian_of(inputs(17, 300, 64));
  const at::Tensor codes = gptq(weight, hessian, {.nbits = 3}).code.codes;
  EXPECT_TRUE(gptq(weight, hessian / 1024, {.nbits = 3}).code.codes.equal(codes));  // a power of two: bit for bit
}

TEST(Gptq, SaysWhatToTryWhenTheHessianIsNotPositiveDefinite) {
  at::Tensor hessian = hessian_of(inputs(18, 400, 32));
  hessian[0][1] = hessian[1][0] = 1.02 * hessian[0][0].item<float>() + hessian[1][1].item<float>();  // indefinite
  const at::Tensor weight = weights(19, 4, 32);
  try {
    gptq(weight, hessian, {.nbits = 4});
    FAIL() << "an indefinite Hessian was accepted";
  } catch (const NumericalError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("damp_percent"));
  }
}

TEST(Gptq, RaisesTheDampingOnlyWhenAskedAndSaysHowFar) {
  at::Tensor hessian = at::eye(32);
  hessian[0][1] = hessian[1][0] = 1.045;  // smallest eigenvalue -0.045: needs damping above 4.5%
  const at::Tensor weight = weights(19, 4, 32);
  EXPECT_THROW(gptq(weight, hessian, {.nbits = 4}), NumericalError);
  const GptqResult result =
      gptq(weight, hessian, {.nbits = 4, .on_not_positive_definite = OnNotPositiveDefinite::kIncreaseDamping});
  EXPECT_NEAR(result.damp_percent_used, 0.05, 1e-9);
  EXPECT_EQ(gptq(weight, at::eye(32), {.nbits = 4}).damp_percent_used, 0.01);
}

TEST(Gptq, RejectsWhatDoesNotFit) {
  const at::Tensor weight = weights(20, 4, 32);
  EXPECT_THROW(gptq(weight, at::eye(31), {.nbits = 4}), DataError);
  EXPECT_THROW(gptq(weight, at::full({32, 32}, NAN), {.nbits = 4}), NumericalError);
  EXPECT_THROW(gptq(weight, at::eye(32), {.nbits = 4, .static_groups = true}), ConfigError);
  EXPECT_THROW(gptq(weight, at::eye(32), {.nbits = 1}), ConfigError);
}

TEST(Gptq, MatchesAutoGptq) {
  for (const auto& golden : testing::goldens()["gptq"]) {
    const int64_t out = golden["out"], in = golden["in"];
    at::Tensor x = inputs(31, 4 * 128, in);
    x.select(1, 5).fill_(0);
    const at::Tensor hessian = hessian_from_xtx(x.t().matmul(x) / 512, /*num_tokens=*/512, /*num_sequences=*/4);
    const GptqOptions options{.nbits = golden["nbits"],
                              .group_size = golden["group_size"],
                              .symmetric = golden["sym"],
                              .mse = golden["mse"],
                              .desc_act = golden["desc_act"],
                              .static_groups = golden["static_groups"]};
    SCOPED_TRACE(golden["nbits"].dump() + " bits, group " + golden["group_size"].dump() + ", act " +
                 golden["desc_act"].dump() + ", static " + golden["static_groups"].dump());
    const GptqResult result = gptq(weights(21, out, in), hessian, options);
    EXPECT_EQ(result.num_dead_columns, 1);
    EXPECT_NEAR(result.loss, golden["loss"].get<double>(), 2e-3 * result.loss);
    // The package factors in float32 and we in float64: a stray code may differ, and moves what follows in its row.
    EXPECT_LT(testing::mismatch(result.code.codes, testing::codes_from_hex(golden["codes"], out, in)), 0.01);
    EXPECT_LT(testing::mismatch(result.code.zero_points.to(at::kFloat), testing::floats(golden["zeros"], {out, -1})),
              0.02);
    const at::Tensor scale_error =
        (result.code.scales.to(at::kFloat) / testing::floats(golden["scales"], {out, -1}) - 1).abs();
    EXPECT_LT(scale_error.median().item<double>(), testing::kHalfTolerance);
    EXPECT_LT(scale_error.max().item<double>(), 0.05);
    const auto g_idx = golden["g_idx"].get<std::vector<int32_t>>();
    const at::Tensor index = result.code.g_idx.defined()
                                 ? result.code.g_idx
                                 : at::arange(in, at::kInt).floor_divide(result.code.group_size).to(at::kInt);
    EXPECT_TRUE(index.equal(at::tensor(g_idx, at::kInt)));
  }
}

}  // namespace
}  // namespace aqlm_exp::scalar
