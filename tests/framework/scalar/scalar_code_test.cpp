#include "framework/scalar/scalar_code.h"

#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.h"
#include "framework/scalar/bitpack.h"
#include "framework/scalar/gptq.h"
#include "framework/scalar/grid.h"
#include "framework/scalar/hqq.h"
#include "tests/framework/scalar/fixtures.h"

namespace aqlm_exp::scalar {
namespace {

using testing::inputs;
using testing::weights;

TEST(Bitpack, RoundTripsEveryWidthAndLength) {
  for (int64_t nbits = 1; nbits <= 8; ++nbits) {
    for (const int64_t columns : {1, 7, 8, 31, 32, 33, 64, 100}) {
      const at::Tensor codes = at::randint(0, int64_t{1} << nbits, {3, columns}, at::kByte);
      const at::Tensor words = pack_rows(codes, nbits);
      EXPECT_EQ(words.size(1), (columns * nbits + 31) / 32);
      EXPECT_TRUE(unpack_rows(words, nbits, columns).equal(codes)) << nbits << " bits, " << columns << " columns";
    }
  }
}

TEST(Bitpack, ThreeBitWordsAreThoseOfGptq) {
  // quant.py: word 0 holds codes 0..9 and the low two bits of code 10, word 1 starts with its third bit.
  at::Tensor codes = at::zeros({1, 32}, at::kByte);
  codes[0][1] = 5;
  codes[0][10] = 7;
  const at::Tensor words = pack_rows(codes, 3);
  ASSERT_EQ(words.size(1), 3);
  EXPECT_EQ(static_cast<uint32_t>(words[0][0].item<int32_t>()), (5u << 3) | (3u << 30));
  EXPECT_EQ(words[0][1].item<int32_t>(), 1);
}

TEST(Bitpack, RefusesCodesThatDoNotFit) { EXPECT_THROW(pack_rows(at::full({1, 4}, 8, at::kByte), 3), InternalError); }

TEST(ScalarCode, StorageIsTheSizeOfThePackedBuffers) {
  const ScalarCode code = rtn(weights(1, 40, 100), 32, {.nbits = 3});  // neither side a multiple of 32
  const quant::BitCount bits = code.bits();
  EXPECT_EQ(bits.code_bits, pack_rows(code.codes, 3).nbytes() * 8);
  EXPECT_EQ(bits.zero_point_bits, pack_rows(code.zero_points.t(), 3).nbytes() * 8);
  EXPECT_EQ(bits.scale_bits, 40 * 4 * 16);
}

struct BitsCase {
  int64_t nbits, group_size;
  double expected;
};

TEST(ScalarCode, BitsPerWeightFollowTheFormatTable) {
  const at::Tensor weight = weights(2, 256, 256);
  for (const auto& [nbits, g, expected] : {BitsCase{4, 128, 4.15625}, {4, 64, 4.3125}, {3, 128, 3.1484375}}) {
    EXPECT_DOUBLE_EQ(rtn(weight, g, {.nbits = nbits}).bits_per_weight(), expected);  // b + (16 + b) / g
    EXPECT_DOUBLE_EQ(rtn(weight, g, {.nbits = nbits, .symmetric = true}).bits_per_weight(),
                     static_cast<double>(nbits) + 16.0 / static_cast<double>(g));
  }
  const at::Tensor x = inputs(3, 512, 256);
  const GptqResult act = gptq(weight, x.t().matmul(x), {.nbits = 4, .group_size = 128, .desc_act = true});
  EXPECT_DOUBLE_EQ(act.code.bits_per_weight(), 4.15625 + 32.0 / 256);  // + 32 / out for g_idx
  EXPECT_DOUBLE_EQ(hqq(weight, {.nbits = 4, .group_size = 64}).code.bits_per_weight(), 4.5);
  EXPECT_DOUBLE_EQ(hqq(weight, {.nbits = 5, .group_size = 64}).code.bits_per_weight(), 8.5);
  EXPECT_DOUBLE_EQ(hqq(weight, {.nbits = 2, .group_size = 16}).code.bits_per_weight(), 4.0);
  EXPECT_DOUBLE_EQ(hqq(weights(2, 320, 256), {.nbits = 3, .group_size = 64}).code.bits_per_weight(),
                   3.7);  // 3.2 + 32/64
}

TEST(ScalarCode, DequantisesFromTheStoredFloat16Scales) {
  const at::Tensor weight = weights(4, 8, 64);
  const ScalarCode code = rtn(weight, 32, {.nbits = 4});
  ASSERT_EQ(code.scales.scalar_type(), at::kHalf);
  const at::Tensor restored = code.dequantise();
  for (const int64_t row : {0, 7}) {
    for (const int64_t column : {0, 31, 32, 63}) {
      const float scale = static_cast<float>(code.scales[row][column / 32].item<at::Half>());
      const int q = code.codes[row][column].item<uint8_t>(), z = code.zero_points[row][column / 32].item<uint8_t>();
      EXPECT_EQ(restored[row][column].item<float>(), scale * static_cast<float>(q - z));
    }
  }
}

TEST(ScalarCode, RefusesScalesBeyondFloat16) {
  EXPECT_THROW(rtn(at::full({2, 8}, 1e7f), 8, {.nbits = 4}), NumericalError);
}

TEST(ScalarCode, RefusesWhatIsNotAFiniteMatrix) {
  EXPECT_THROW(rtn(at::full({2, 8}, NAN), 8, {.nbits = 4}), NumericalError);
  EXPECT_THROW(rtn(at::zeros({2, 8}, at::kInt), 8, {.nbits = 4}), DataError);
  EXPECT_THROW(rtn(at::zeros({8}), 8, {.nbits = 4}), DataError);
  EXPECT_THROW(rtn(at::zeros({2, 8}), 0, {.nbits = 4}), ConfigError);
  EXPECT_THROW(rtn(at::zeros({2, 8}), 8, {.nbits = 9}), ConfigError);
}

}  // namespace
}  // namespace aqlm_exp::scalar
