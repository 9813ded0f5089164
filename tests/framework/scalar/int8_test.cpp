#include "framework/scalar/int8.h"

#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.h"
#include "tests/framework/scalar/fixtures.h"

namespace aqlm_exp::scalar {
namespace {

using testing::inputs;
using testing::weights;

at::Tensor signed_codes(const std::string& hex, int64_t rows, int64_t columns) {
  return (testing::codes_from_hex(hex, rows, columns).to(at::kInt) - 128).to(at::kChar);
}

TEST(Int8, MatchesBitsandbytes) {
  for (const auto& golden : testing::goldens()["int8"]) {
    SCOPED_TRACE("scale " + golden["scale"].dump() + " threshold " + golden["threshold"].dump());
    const Int8Weight weight(weights(91, 20, 96));
    EXPECT_TRUE(weight.codes().equal(signed_codes(golden["weight_codes"], 20, 96)));
    EXPECT_TRUE(weight.row_maxima().equal(testing::floats(golden["weight_maxima"], {20})));
    const double threshold = golden["threshold"];
    const at::Tensor x = (inputs(92, 12, 96) * golden["scale"].get<double>()).to(at::kHalf).to(at::kFloat);
    const Int8Activations activations = quantise_activations(x, threshold);
    EXPECT_TRUE(activations.token_maxima.equal(testing::floats(golden["token_maxima"], {12})));
    const auto outliers = golden["outliers"].get<std::vector<int64_t>>();
    EXPECT_TRUE(activations.outlier_columns.equal(at::tensor(outliers, at::kLong)));
    // The package multiplies in float16 before rounding: values halfway between two codes may go to either.
    const at::Tensor expected = signed_codes(golden["token_codes"], 12, 96);
    EXPECT_LE(testing::max_abs_diff(activations.codes, expected), 1);
    EXPECT_LT(testing::mismatch(activations.codes, expected), 0.05);
    // It returns float16; and a code off by one moves an output by maximum / 127 times a weight.
    EXPECT_LT(testing::relative_diff(int8_linear(weight, x, threshold), testing::floats(golden["output"], {12, 20})),
              0.01);
  }
}

TEST(Int8, ProductIsTheSumOfBothParts) {
  const at::Tensor matrix = weights(1, 7, 40), x = (inputs(2, 9, 40) * 2).to(at::kHalf).to(at::kFloat);
  const Int8Weight weight(matrix);
  const Int8Activations activations = quantise_activations(x, 6.0);
  ASSERT_GT(activations.outlier_columns.numel(), 0);
  ASSERT_LT(activations.outlier_columns.numel(), 40);
  const at::Tensor y = int8_linear(weight, x, 6.0);
  for (int64_t t = 0; t < 9; ++t) {
    for (int64_t o = 0; o < 7; ++o) {
      const double row = weight.row_maxima()[o].item<float>(), token = activations.token_maxima[t].item<float>();
      double sum = 0;
      for (int64_t i = 0; i < 40; ++i) {
        sum += activations.codes[t][i].item<int8_t>() * weight.codes()[o][i].item<int8_t>() * row * token / 127 / 127;
      }
      for (int64_t k = 0; k < activations.outlier_columns.numel(); ++k) {
        const int64_t i = activations.outlier_columns[k].item<int64_t>();
        const at::Half w(static_cast<float>(weight.codes()[o][i].item<int8_t>() * row / 127));
        sum += static_cast<double>(x[t][i].item<float>()) * static_cast<float>(w);
      }
      EXPECT_NEAR(y[t][o].item<float>(), sum, 1e-4 * (1 + std::fabs(sum)));
    }
  }
}

TEST(Int8, OutlierColumnsKeepTheErrorSmall) {
  const at::Tensor matrix = weights(3, 16, 64);
  at::Tensor x = inputs(4, 30, 64) * 0.3;
  x.select(1, 9).mul_(400);  // one loud column, as large models have them
  const Int8Weight weight(matrix);
  const at::Tensor exact = x.matmul(weight.dequantise().t());  // what 8-bit activations cost, not 8-bit weights
  const auto error = [&](double threshold) {
    return (int8_linear(weight, x, threshold) - exact).square().mean().item<double>();
  };
  EXPECT_LT(error(6.0), 0.05 * error(0.0));
}

TEST(Int8, OutliersDependOnTheTokensOfACall) {
  const Int8Weight weight(weights(5, 4, 32));
  at::Tensor x = inputs(6, 2, 32) * 0.1;
  x[1][3] = 20;
  const at::Tensor together = int8_linear(weight, x, 6.0), alone = int8_linear(weight, x.slice(0, 0, 1), 6.0);
  EXPECT_FALSE(together[0].equal(alone[0]));
  EXPECT_LT(testing::max_abs_diff(together[0], alone[0]), 0.01);
}

TEST(Int8, WideLayersSumExactly) {
  const int64_t in = 5000;  // 5000 * 127 * 127 is beyond float32's whole numbers
  const Int8Weight weight(at::ones({1, in}));
  at::Tensor x = at::ones({1, in});
  x[0][0] = 1.0f / 127;
  const double expected = (127.0 * 127 * (in - 1) + 127) / (127.0 * 127);
  EXPECT_NEAR(int8_linear(weight, x, 0).item<float>(), expected, 1e-7 * expected);
}

TEST(Int8, ZeroRowsAndTokensAreZero) {
  at::Tensor matrix = weights(7, 3, 32);
  matrix[1].fill_(0);
  const Int8Weight weight(matrix);
  EXPECT_EQ(weight.dequantise()[1].abs().max().item<float>(), 0);
  EXPECT_EQ(int8_linear(weight, at::zeros({2, 32}), 6.0).abs().max().item<float>(), 0);
}

TEST(Int8, BitsCountOneFloatARow) {
  EXPECT_DOUBLE_EQ(Int8Weight(weights(8, 16, 256)).bits().per_weight(), 8 + 32.0 / 256);
}

TEST(Int8, RefusesWhatFloat16CannotHold) {
  EXPECT_THROW(Int8Weight(at::full({2, 8}, 1e6f)), NumericalError);
  EXPECT_THROW(Int8Weight(at::full({2, 8}, NAN)), NumericalError);
}

}  // namespace
}  // namespace aqlm_exp::scalar
