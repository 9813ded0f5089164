#include "kernels/decode/decode_ref.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace aqlm_exp::decode {
namespace {

TEST(AddRmsNormRef, GivesRowsOfUnitMeanSquare) {
  std::vector<float> residual = {1, 2, 3, 4}, y(4);
  const std::vector<float> delta = {2, 0, 0, -1}, weight = {1, 1, 1, 1};
  add_rms_norm_ref(4, delta.data(), residual.data(), weight.data(), 0.0F, y.data());
  EXPECT_EQ(residual, (std::vector<float>{3, 2, 3, 3}));
  double sum = 0;
  for (const float x : y) sum += static_cast<double>(x) * static_cast<double>(x);
  EXPECT_NEAR(sum / 4, 1.0, 1e-6);
  EXPECT_NEAR(y[0] / y[1], 1.5, 1e-6);
}

TEST(SiluMulRef, KnowsItsValuesAtZeroAndFarOut) {
  EXPECT_EQ(silu_mul_ref(0, 5), 0);
  EXPECT_NEAR(silu_mul_ref(50, 2), 100, 1e-9);
  EXPECT_NEAR(silu_mul_ref(-50, 2), 0, 1e-9);
  EXPECT_NEAR(silu_mul_ref(1, 1), 0.7310585786300049, 1e-12);
}

struct Head {
  std::vector<float> q, k, v, cos, sin, keys, values;
  std::vector<double> y;
  AttendRef call;
  Head(int64_t dim, int64_t capacity)
      : q(static_cast<size_t>(dim), 1.0F),
        k(q),
        v(q),
        cos(static_cast<size_t>(capacity * dim / 2), 1.0F),
        sin(cos.size(), 0.0F),
        keys(static_cast<size_t>(capacity * dim)),
        values(keys.size()),
        y(static_cast<size_t>(dim)) {
    call = {.num_heads = 1, .num_kv_heads = 1, .head_dim = dim, .capacity = capacity, .scale = 1};
    call.q = q.data(), call.k = k.data(), call.v = v.data(), call.cos = cos.data(), call.sin = sin.data();
    call.keys = keys.data(), call.values = values.data(), call.y = y.data();
  }
};

TEST(AttendRef, TheFirstTokenSeesItselfAlone) {
  Head head(4, 3);
  head.v = {1, 2, 3, 4};
  head.call.v = head.v.data();
  attend_ref(head.call);
  for (size_t i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(head.y[i], static_cast<double>(head.v[i]));
  EXPECT_EQ(head.values[1], 2.0F);
}

TEST(AttendRef, EqualKeysAreAveraged) {
  Head head(4, 3);
  head.call.position = 2;
  for (size_t i = 0; i < 8; ++i) head.keys[i] = 1, head.values[i] = i < 4 ? 4.0F : 7.0F;
  attend_ref(head.call);
  for (const double y : head.y) EXPECT_NEAR(y, (4.0 + 7.0 + 1.0) / 3, 1e-12);
}

TEST(AttendRef, AWindowForgetsOldTokens) {
  Head head(4, 3);
  head.call.position = 2;
  head.call.window = 2;
  for (size_t i = 0; i < 8; ++i) head.keys[i] = 1, head.values[i] = i < 4 ? 400.0F : 7.0F;
  attend_ref(head.call);
  for (const double y : head.y) EXPECT_NEAR(y, 4.0, 1e-12);
}

TEST(AttendRef, RotatesByTheAngleOfThePosition) {
  Head head(2, 2);
  head.call.position = 1;
  head.cos = {1, std::cos(0.5F)}, head.sin = {0, std::sin(0.5F)};
  head.call.cos = head.cos.data(), head.call.sin = head.sin.data();
  head.k = {1, 0};
  head.call.k = head.k.data();
  attend_ref(head.call);
  EXPECT_FLOAT_EQ(head.keys[2], std::cos(0.5F));
  EXPECT_FLOAT_EQ(head.keys[3], std::sin(0.5F));
}

}  // namespace
}  // namespace aqlm_exp::decode
