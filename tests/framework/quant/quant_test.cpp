#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/base/rng.h"
#include "framework/quant/additive_weight.h"
#include "framework/quant/bitpack.h"
#include "framework/quant/layer_problem.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::quant {
namespace {

AdditiveWeight random_weight(const CodeSpec& spec, int64_t out_features, int64_t in_features, uint64_t seed) {
  Rng rng(seed);
  at::Tensor codes =
      at::empty({out_features / spec.out_group_size, in_features / spec.in_group_size, spec.num_codebooks}, at::kInt);
  for (int64_t i = 0; i < codes.numel(); ++i) {
    codes.data_ptr<int32_t>()[i] = static_cast<int32_t>(rng.below(static_cast<uint64_t>(spec.codebook_size())));
  }
  return AdditiveWeight(
      spec, codes,
      test::gaussian({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}, seed + 1),
      test::gaussian({out_features / spec.out_group_size, 1, 1, 1}, seed + 2));
}

TEST(AdditiveWeight, DequantisesTheExampleOfTheFormat) {
  // Two codebooks of two bits, scale 2, codes (3, 2) give weights (2, 1).
  const at::Tensor books = at::tensor({0.f, 0.f, 1.f, 0.f, 0.f, 1.f, 1.f, 1.f,  //
                                       .5f, .5f, -.5f, 0.f, 0.f, -.5f, .25f, .25f})
                               .view({2, 4, 1, 2});
  const AdditiveWeight weight({.num_codebooks = 2, .nbits_per_codebook = 2, .in_group_size = 2, .out_group_size = 1},
                              at::tensor({3, 2}, at::kInt).view({1, 1, 2}), books, at::full({1, 1, 1, 1}, 2.f));
  EXPECT_TRUE(weight.dequantise().equal(at::tensor({2.f, 1.f}).view({1, 2})));
}

TEST(AdditiveWeight, MatchesTheSumWrittenOutForEveryGroupShape) {
  for (const CodeSpec spec : {CodeSpec{2, 4, 8, 1}, CodeSpec{3, 3, 4, 2}, CodeSpec{1, 5, 2, 4}}) {
    const AdditiveWeight weight = random_weight(spec, 8, 16, 7);
    const at::Tensor dense = weight.dequantise();
    for (int64_t row = 0; row < 8; ++row) {
      for (int64_t column = 0; column < 16; ++column) {
        const int64_t o = row / spec.out_group_size, a = row % spec.out_group_size;
        const int64_t j = column / spec.in_group_size, b = column % spec.in_group_size;
        double sum = 0.0;
        for (int64_t m = 0; m < spec.num_codebooks; ++m) {
          sum += weight.codebooks()[m][weight.codes()[o][j][m].item<int64_t>()][a][b].item<double>();
        }
        EXPECT_NEAR(dense[row][column].item<double>(), sum * weight.scales()[o].item<double>(), 1e-5) << spec.str();
      }
    }
  }
}

TEST(AdditiveWeight, CountsTheBitsOfThePackedBuffers) {
  const AdditiveWeight weight = random_weight({2, 7, 8, 1}, 256, 256, 1);
  const BitCount bits = weight.bits();
  EXPECT_EQ(bits.code_bits, 2 * 7 * 256 * 32);
  EXPECT_EQ(bits.codebook_bits, 16 * 2 * 128 * 8);
  EXPECT_EQ(bits.scale_bits, 16 * 256);
  EXPECT_DOUBLE_EQ(bits.per_weight(), 1.75 + 32768.0 / 65536 + 4096.0 / 65536);
}

TEST(AdditiveWeight, RoundingToStorageIsFp16AndIdempotent) {
  AdditiveWeight weight = random_weight({2, 4, 8, 1}, 8, 16, 3);
  weight.round_to_storage();
  const at::Tensor once = weight.codebooks().clone();
  EXPECT_TRUE(once.equal(once.to(at::kHalf).to(at::kFloat)));
  weight.round_to_storage();
  EXPECT_TRUE(once.equal(weight.codebooks()));
}

TEST(AdditiveWeight, RefusesPartsThatDisagree) {
  const CodeSpec spec{2, 4, 8, 1};
  EXPECT_THROW(AdditiveWeight(spec, at::zeros({4, 2, 3}, at::kInt), at::zeros({2, 16, 1, 8}), at::zeros({4, 1, 1, 1})),
               DataError);
  EXPECT_THROW(AdditiveWeight(spec, at::zeros({4, 2, 2}, at::kInt), at::zeros({2, 16, 1, 8}), at::zeros({5, 1, 1, 1})),
               DataError);
}

TEST(GroupWeight, IsUndoneByUngroup) {
  const at::Tensor weight = test::gaussian({12, 24}, 5);
  for (const CodeSpec spec : {CodeSpec{1, 4, 8, 1}, CodeSpec{1, 4, 4, 3}, CodeSpec{1, 4, 24, 12}}) {
    EXPECT_TRUE(ungroup(group_weight(weight, spec), spec).equal(weight)) << spec.str();
  }
}

TEST(CodeSpec, IsReadFromTheTextItPrints) {
  for (const CodeSpec& spec : {CodeSpec{2, 8, 8, 1}, CodeSpec{1, 16, 16, 1}, CodeSpec{3, 12, 4, 2}}) {
    EXPECT_EQ(parse_code_spec(spec.str()).str(), spec.str());
  }
  EXPECT_EQ(parse_code_spec("4x7").str(), "4x7 g8");
  for (const char* text : {"", "2x", "x8", "2x8 ", "2x8g8", "2x17", "0x8", "2x8 g8x", "2x8 g8x2 ", "-1x8", "2x8 g"}) {
    EXPECT_THROW(parse_code_spec(text), ConfigError) << text;
  }
}

TEST(CodeSpec, RefusesShapesItDoesNotTile) {
  const CodeSpec spec{2, 8, 8, 4};
  EXPECT_NO_THROW(spec.check_shape("t", 8, 16));
  EXPECT_THROW(spec.check_shape("t", 8, 12), DataError);
  EXPECT_THROW(spec.check_shape("t", 6, 16), DataError);
}

TEST(BitPack, RoundTripsEveryWidth) {
  Rng rng(11);
  for (int64_t nbits = 1; nbits <= 16; ++nbits) {
    for (int64_t count : {0, 1, 7, 8, 9, 1000}) {
      std::vector<int32_t> codes(static_cast<size_t>(count));
      for (int32_t& code : codes) code = static_cast<int32_t>(rng.below(uint64_t{1} << nbits));
      const std::vector<uint8_t> packed = pack_bits(codes, nbits);
      EXPECT_EQ(static_cast<int64_t>(packed.size()), packed_size_bytes(count, nbits));
      EXPECT_EQ(unpack_bits(packed, count, nbits), codes) << nbits;
    }
  }
}

TEST(BitPack, IsLeastSignificantBitFirst) {
  const std::vector<int32_t> codes = {1, 2, 3};
  EXPECT_EQ(pack_bits(codes, 3), (std::vector<uint8_t>{0b11010001, 0b0}));
}

TEST(BitPack, RefusesWhatDoesNotFit) {
  const std::vector<int32_t> codes = {4};
  EXPECT_THROW(pack_bits(codes, 2), DataError);
  EXPECT_THROW(pack_bits(codes, 17), DataError);
  EXPECT_THROW(unpack_bits(std::vector<uint8_t>{1}, 3, 4), DataError);
}

TEST(OutputError, IsTheMeanSquaredOutputDifference) {
  const at::Tensor x = test::gaussian({50, 6}, 1), w = test::gaussian({3, 6}, 2), v = test::gaussian({3, 6}, 3);
  const at::Tensor xtx = at::matmul(x.t(), x) / 50;
  const double direct = at::matmul(x, (v - w).t()).square().sum().item<double>() / 50;
  EXPECT_NEAR(output_error(v, w, xtx), direct, 1e-4 * direct);
  EXPECT_EQ(relative_output_error(at::zeros({3, 6}), at::zeros({3, 6}), xtx), 0.0);
}

TEST(CheckProblem, RefusesNanAndInfinity) {
  LayerProblem problem = test::correlated_layer(4, 8, 1);
  EXPECT_NO_THROW(check_problem(problem));
  problem.weight[1][2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(check_problem(problem), DataError);
  problem.weight[1][2] = 0;
  problem.xtx[0][0] = std::numeric_limits<double>::infinity();
  EXPECT_THROW(check_problem(problem), DataError);
}

}  // namespace
}  // namespace aqlm_exp::quant
