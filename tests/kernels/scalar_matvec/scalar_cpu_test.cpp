#include "kernels/scalar_matvec/scalar_cpu.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/scalar_matvec/scalar_case.h"

namespace aqlm_exp::scalar_matvec {
namespace {

using kernels::CpuIsa;
using kernels::Status;

std::vector<CpuIsa> levels_here() {
  std::vector<CpuIsa> levels;
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512})
    if (kernels::usable_cpu_isa(isa) == isa) levels.push_back(isa);
  return levels;
}

struct Packed {
  Aligned<char> codes, scales;
  explicit Packed(const ScalarCase& c)
      : codes(scalar_cpu_packed_code_bytes(c.shape), 0xAB), scales(scalar_cpu_packed_scale_bytes(c.shape), 0xAB) {
    scalar_cpu_pack_codes(c.shape, c.codes.data(), codes.data());
    scalar_cpu_pack_scales(c.shape, c.scales.data(), c.zero_data(), scales.data());
  }
};

ScalarCpuCall call_of(const ScalarCase& c, const Packed& packed) {
  ScalarCpuCall call;
  call.packed_codes = packed.codes.data();
  call.packed_scales = packed.scales.data();
  call.levels = c.level_data();
  call.x_perm = c.perm_data();
  call.bias = c.bias.data();
  call.residual = c.residual.data();
  call.x = c.x.data();
  call.batch = c.batch;
  return call;
}

std::vector<float> run(const ScalarCase& c, const Packed& packed, CpuIsa isa, int threads) {
  std::vector<float> y(c.expected.size(), std::nanf(""));
  Aligned<char> workspace(scalar_cpu_workspace_bytes(c.shape, c.batch), 0xFF);
  ScalarCpuCall call = call_of(c, packed);
  call.y = y.data();
  call.workspace = workspace.data();
  call.threads = threads;
  call.isa = isa;
  EXPECT_EQ(scalar_cpu(c.shape, call), Status::kOk);
  return y;
}

void check(const ScalarShape& shape, int64_t batch, Format format, bool permuted = false, int threads = 2) {
  ASSERT_EQ(scalar_cpu_supports(shape), Status::kOk);
  const ScalarCase c(shape, batch, format, permuted, 11);
  const Packed packed(c);
  // fp32 rounding: each of n terms is at most 16 * 0.03 * |x| before cancellation with the zero point.
  const double tolerance = 4e-7 * std::sqrt(static_cast<double>(shape.in_features)) + 1e-6;
  for (CpuIsa isa : levels_here()) {
    const std::vector<float> y = run(c, packed, isa, threads);
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(y[i]), c.expected[i], tolerance * (1 + std::fabs(c.expected[i])))
          << c.name() << " at " << i << " level " << kernels::cpu_isa_name(isa);
  }
}

TEST(ScalarCpu, EqualsTheReferenceForEveryFormatBitsAndGroupSize) {
  for (int bits : {2, 3, 4})
    for (int64_t group : {16, 32, 48, 64, 128, 256, 1024, 4096})
      for (Format format : {Format::kIntegerZeros, Format::kRealZeros, Format::kSymmetric, Format::kNf4})
        check({.out_features = 9, .in_features = 1024, .nbits = bits, .group_size = group}, 1, format);
}

TEST(ScalarCpu, EqualsTheReferenceAroundEachTileEdge) {
  for (int bits : {2, 3, 4})
    for (int64_t rows : {1, 3, 4, 5, 8, 17})
      for (int64_t inputs : {1, 15, 16, 17, 127, 128, 129, 255, 256, 257, 511, 512, 513})
        check({.out_features = rows, .in_features = inputs, .nbits = bits, .group_size = 64}, 2, Format::kRealZeros);
  check({.out_features = 5, .in_features = 77, .nbits = 4, .group_size = 77}, 1, Format::kRealZeros);
}

TEST(ScalarCpu, EqualsTheReferenceForBatchesOneToSeventy) {
  for (int64_t batch : {1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 70})
    check({.out_features = 10, .in_features = 200, .nbits = 4, .group_size = 64}, batch, Format::kIntegerZeros);
  for (int bits : {2, 3, 4})
    for (int64_t group : {48, 64, 128, 2000})  // a step, two, eight, all of a block between two scales
      for (int64_t batch : {1, 2, 3, 4, 7})
        check({.out_features = 6, .in_features = 1040, .nbits = bits, .group_size = group}, batch, Format::kRealZeros);
}

TEST(ScalarCpu, PermutesTheInputsForActOrder) {
  for (int bits : {2, 3, 4})
    check({.out_features = 12, .in_features = 512, .nbits = bits, .group_size = 128}, 3, Format::kIntegerZeros, true);
}

TEST(ScalarCpu, KeepsSaturatingInputs) {
  ScalarCase c({.out_features = 8, .in_features = 256, .nbits = 4, .group_size = 64}, 1, Format::kSymmetric, false, 2);
  for (float& value : c.x) value *= 65504;
  for (uint8_t& code : c.codes) code = 15;
  c.answer();
  const Packed packed(c);
  for (CpuIsa isa : levels_here()) {
    const std::vector<float> y = run(c, packed, isa, 1);
    for (size_t i = 0; i < y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(y[i]), c.expected[i], 256 * 65504 * 0.5 * 1e-6 + 1e-6 * std::fabs(c.expected[i]));
  }
}

TEST(ScalarCpu, GivesTheSameBitsForOneToSixtyFourThreads) {
  const ScalarCase c({.out_features = 300, .in_features = 512, .nbits = 3, .group_size = 128}, 5, Format::kRealZeros,
                     false, 8);
  const Packed packed(c);
  for (CpuIsa isa : levels_here()) {
    const std::vector<float> first = run(c, packed, isa, 1);
    for (int threads : {1, 2, 3, 16, 64}) ASSERT_EQ(run(c, packed, isa, threads), first);
  }
}

TEST(ScalarCpu, DequantisesAnyRangeOfRows) {
  for (int bits : {2, 3, 4}) {
    const ScalarCase c({.out_features = 21, .in_features = 300, .nbits = bits, .group_size = 64}, 1, Format::kRealZeros,
                       false, 8);
    const Packed packed(c);
    std::vector<double> dense(21 * 300);
    scalar_dequantise_ref(c.shape, c.codes.data(), nullptr, c.scales.data(), c.zero_data(), dense.data());
    std::vector<float> weight(14 * 300, std::nanf(""));
    scalar_cpu_dequantise(c.shape, call_of(c, packed), 5, 19, weight.data());
    for (size_t i = 0; i < weight.size(); ++i) ASSERT_NEAR(static_cast<double>(weight[i]), dense[5 * 300 + i], 1e-6);
  }
}

TEST(ScalarCpu, RefusesOtherBitsAndGroups) {
  EXPECT_EQ(scalar_cpu_supports({.out_features = 8, .in_features = 64, .nbits = 5}), Status::kUnsupportedShape);
  EXPECT_EQ(scalar_cpu_supports({.out_features = 8, .in_features = 64, .nbits = 4, .group_size = 24}),
            Status::kUnsupportedShape);
  EXPECT_EQ(scalar_cpu({.out_features = 8, .in_features = 64, .nbits = 4, .group_size = 24}, {}),
            Status::kUnsupportedShape);
}

}  // namespace
}  // namespace aqlm_exp::scalar_matvec
