#include "kernels/additive_matvec/additive_matvec_ref.h"

#include <gtest/gtest.h>

namespace aqlm_exp::additive_matvec {
namespace {

TEST(AdditiveReference, GivesTheWorkedExampleOfTheFormat) {
  // in_group_size 2, 2x2: codes (3, 2) pick (1, 1) and (0, -.5); times scale 2 the weights are (2, 1).
  const AdditiveShape shape{
      .out_features = 1, .in_features = 2, .num_codebooks = 2, .nbits_per_codebook = 2, .in_group_size = 2};
  const float codebooks[] = {0, 0, 1, 0, 0, 1, 1, 1, .5F, .5F, -.5F, 0, 0, -.5F, .25F, .25F};
  const uint16_t codes[] = {3, 2};
  const float scale = 2, x[] = {10, 100}, bias = 7;
  const double residual = 0.5;
  double weight[2], y = 0;
  additive_dequantise_ref(shape, codes, codebooks, &scale, weight);
  EXPECT_EQ(weight[0], 2);
  EXPECT_EQ(weight[1], 1);
  additive_matvec_ref(shape, codes, codebooks, &scale, &bias, &residual, x, 1, &y);
  EXPECT_EQ(y, 127.5);
}

TEST(AdditiveReference, LaysOutputGroupsOutAsRowBlocks) {
  // One codeword of 2 rows x 2 columns per group; two groups along the inputs with a scale each.
  const AdditiveShape shape{.out_features = 2,
                            .in_features = 4,
                            .num_codebooks = 1,
                            .nbits_per_codebook = 1,
                            .in_group_size = 2,
                            .out_group_size = 2,
                            .scale_groups = 2};
  const float codebooks[] = {1, 2, 3, 4, 5, 6, 7, 8}, scales[] = {1, 10};
  const uint16_t codes[] = {1, 0};
  double weight[8];
  additive_dequantise_ref(shape, codes, codebooks, scales, weight);
  const double expected[] = {5, 6, 10, 20, 7, 8, 30, 40};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(weight[i], expected[i]) << i;
}

TEST(AdditiveShape, RefusesBrokenGroups) {
  const AdditiveShape good{.out_features = 8, .in_features = 16};
  EXPECT_TRUE(good.valid());
  for (auto change :
       {+[](AdditiveShape& s) { s.in_features = 12; }, +[](AdditiveShape& s) { s.nbits_per_codebook = 17; },
        +[](AdditiveShape& s) { s.out_group_size = 3; }, +[](AdditiveShape& s) { s.scale_groups = 3; },
        +[](AdditiveShape& s) { s.num_codebooks = 0; }}) {
    AdditiveShape bad = good;
    change(bad);
    EXPECT_FALSE(bad.valid());
  }
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec
