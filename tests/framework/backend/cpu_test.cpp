#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "tests/framework/backend/weights.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::backend {
namespace {

// int16 tables: 7e-4 on random data (docs/kernels.md section 3); scalar kernels keep scales in float16, which the
// weights here have already; NF4's block maxima are rounded to float16: 2^-11 each, 3e-4 over a row.
constexpr double kLutTolerance = 1.5e-3, kFloatTolerance = 2e-6, kTableTolerance = 5e-4;

void check(const std::string& backend, const WeightPtr& weight, double tolerance, const std::string& kernel) {
  const at::Tensor bias = test::gaussian({weight->out_features()}, 3);
  const auto op = make_backend(backend)->prepare(weight, bias);
  EXPECT_TRUE(op->kernel().starts_with(kernel)) << op->kernel();
  for (const int64_t tokens : {1, 2, 3, 8, 9, 16, 17, 33, 70}) {
    const at::Tensor x = test::gaussian({tokens, weight->in_features()}, 4);
    EXPECT_LE(worst_error(*op, *weight, bias, x), tolerance) << weight->format() << " " << tokens;
  }
}

TEST(CpuBackend, LooksUpAdditiveCodesOfUpToEightBits) {
  for (const quant::CodeSpec& spec : {quant::CodeSpec{2, 8, 8, 1}, {1, 8, 16, 1}, {3, 5, 8, 1}, {4, 8, 8, 1}}) {
    check("cpu", random_additive(spec, 300, 256), kLutTolerance, "cpu_lut_");
    check("cpu_lut", random_additive(spec, 1100, 64), kLutTolerance, "cpu_lut_");
  }
}

TEST(CpuBackend, DecodesEveryOtherAdditiveCode) {
  for (const quant::CodeSpec& spec : {quant::CodeSpec{1, 12, 8, 1}, {2, 9, 4, 1}, {3, 4, 8, 3}, {1, 8, 8, 2}}) {
    check("cpu", random_additive(spec, 390, 96), kFloatTolerance, "cpu_generic");
  }
  check("cpu_generic", random_additive({2, 8, 8, 1}, 70, 128), kFloatTolerance, "cpu_generic");
}

TEST(CpuBackend, MultipliesScalarCodes) {
  for (const ScalarKind& kind : {ScalarKind{4, 128},
                                 {3, 64},
                                 {2, 16},
                                 {4, -1},
                                 {4, 64, true},
                                 {3, 32, true},
                                 {4, 64, false, true},
                                 {2, 96, true, true}}) {
    check("cpu", random_scalar(kind, 301, 192), kFloatTolerance, "cpu_int");
  }
}

TEST(CpuBackend, MultipliesTablesOfLevels) { check("cpu", random_nf4(64, 130, 192), kTableTolerance, "cpu_table4_"); }

TEST(CpuBackend, KeepsTheShapeOfXAndTakesOtherTypes) {
  const WeightPtr weight = random_additive({2, 8, 8, 1}, 64, 64);
  const auto op = make_backend("cpu")->prepare(weight, {});
  const at::Tensor x = test::gaussian({2, 3, 64}, 5);
  EXPECT_EQ(op->forward(x).sizes(), (std::vector<int64_t>{2, 3, 64}));
  EXPECT_EQ(op->forward(x[0][0]).sizes(), (std::vector<int64_t>{64}));
  EXPECT_EQ(op->forward(x.slice(1, 0, 0)).sizes(), (std::vector<int64_t>{2, 0, 64}));
  // Columns 1 to 64 of wider rows: neither contiguous nor aligned.
  const at::Tensor wide = test::gaussian({3, 66}, 6);
  EXPECT_LE(worst_error(*op, *weight, {}, wide.slice(1, 1, 65)), kLutTolerance);
  EXPECT_LE(worst_error(*op, *weight, {}, x.to(at::kBFloat16)), 4e-3);
  EXPECT_THROW(op->forward(test::gaussian({1, 63}, 7)), DataError);
}

TEST(CpuBackend, HoldsACompressedWeight) {
  const auto additive = make_backend("cpu")->prepare(random_additive({2, 8, 8, 1}, 512, 512), {});
  // 2 bits a weight, two copies of two codebooks of 256 x 8 floats, a float a row
  EXPECT_EQ(additive->resident_bytes(), 512 * 512 / 4 + 2 * 2 * 256 * 8 * 4 + 512 * 4);
  const auto scalar = make_backend("cpu")->prepare(random_scalar({4, 128}, 512, 512), {});
  EXPECT_EQ(scalar->resident_bytes(), 512 * 512 / 2 + 512 * 4 * 4);
}

TEST(CpuBackend, LeavesUntouchedLinearsDense) {
  const auto weight = std::make_shared<quant::DenseWeight>(test::gaussian({16, 32}, 1));
  const auto op = make_backend("cpu")->prepare(weight, {});
  EXPECT_EQ(op->kernel(), "dense");
  EXPECT_LE(worst_error(*op, *weight, {}, test::gaussian({3, 32}, 2)), 1e-6);
}

}  // namespace
}  // namespace aqlm_exp::backend
