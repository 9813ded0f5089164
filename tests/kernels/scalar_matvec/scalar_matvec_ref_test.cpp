#include "kernels/scalar_matvec/scalar_matvec_ref.h"

#include <gtest/gtest.h>

namespace aqlm_exp::scalar_matvec {
namespace {

TEST(ScalarReference, GivesAWorkedExample) {
  const ScalarShape shape{.out_features = 1, .in_features = 3, .nbits = 2, .group_size = 2};
  const uint8_t codes[] = {3, 0, 1};
  const float scales[] = {2, 10}, zeros[] = {1, 0.5F}, x[] = {1, 10, 100}, bias = 1000;
  double weight[3], y = 0;
  scalar_dequantise_ref(shape, codes, nullptr, scales, zeros, weight);
  EXPECT_EQ(weight[0], 4);
  EXPECT_EQ(weight[1], -2);
  EXPECT_EQ(weight[2], 5);
  scalar_matvec_ref(shape, codes, nullptr, scales, zeros, nullptr, &bias, nullptr, x, 1, &y);
  EXPECT_EQ(y, 4 - 20 + 500 + 1000);
  const int32_t perm[] = {2, 0, 1};  // stored column 0 multiplies x[2]
  scalar_matvec_ref(shape, codes, nullptr, scales, zeros, perm, nullptr, nullptr, x, 1, &y);
  EXPECT_EQ(y, 400 - 2 + 50);
}

TEST(ScalarReference, Nf4LevelsAreSymmetricAtTheEndsAndHoldZero) {
  EXPECT_EQ(kNf4Levels[0], -1);
  EXPECT_EQ(kNf4Levels[7], 0);
  EXPECT_EQ(kNf4Levels[15], 1);
  for (int i = 1; i < 16; ++i) EXPECT_GT(kNf4Levels[i], kNf4Levels[i - 1]);
}

}  // namespace
}  // namespace aqlm_exp::scalar_matvec
