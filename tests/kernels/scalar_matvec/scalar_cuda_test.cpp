#include "kernels/scalar_matvec/scalar_cuda.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/cuda_buffer.h"
#include "tests/kernels/scalar_matvec/scalar_case.h"

namespace aqlm_exp::scalar_matvec {
namespace {

using kernels::CudaBuffer;
using kernels::Status;

struct Device {
  ScalarCase c;
  std::vector<double> weight, norm;
  CudaBuffer codes, scales, levels, perm, bias, residual, x;

  static ScalarCase rounded(ScalarCase c) {
    for (std::vector<float>* v : {&c.levels, &c.bias, &c.residual, &c.x}) kernels::round_to_half(*v);
    c.answer();
    return c;
  }
  static CudaBuffer packed_codes(const ScalarCase& c) {
    std::vector<char> packed(static_cast<size_t>(scalar_cuda_packed_code_bytes(c.shape)));
    scalar_cuda_pack_codes_host(c.shape, c.codes.data(), !c.levels.empty(), packed.data());
    return CudaBuffer(packed.data(), packed.size());
  }
  static CudaBuffer packed_scales(const ScalarCase& c) {
    std::vector<char> packed(static_cast<size_t>(scalar_cuda_packed_scale_bytes(c.shape)));
    scalar_cuda_pack_scales_host(c.shape, c.scales.data(), c.zero_data(), packed.data());
    return CudaBuffer(packed.data(), packed.size());
  }
  explicit Device(ScalarCase plain)
      : c(rounded(std::move(plain))),
        codes(packed_codes(c)),
        scales(packed_scales(c)),
        levels(kernels::half_buffer(c.levels)),
        perm(c.x_perm.data(), c.x_perm.size() * 4),
        bias(kernels::half_buffer(c.bias)),
        residual(kernels::half_buffer(c.residual)),
        x(kernels::half_buffer(c.x)) {
    const ScalarShape& s = c.shape;
    weight.resize(static_cast<size_t>(s.out_features * s.in_features));
    scalar_dequantise_ref(s, c.codes.data(), c.level_data(), c.scales.data(), c.zero_data(), weight.data());
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t o = 0; o < s.out_features; ++o) {
        double sum = 0;
        for (int64_t i = 0; i < s.in_features; ++i) {
          const int64_t column = c.x_perm.empty() ? i : c.x_perm[static_cast<size_t>(i)];
          const double term = weight[static_cast<size_t>(o * s.in_features + i)] *
                              static_cast<double>(c.x[static_cast<size_t>(b * s.in_features + column)]);
          sum += term * term;
        }
        norm.push_back(std::sqrt(sum));
      }
  }
  ScalarCudaCall call(void* y) const {
    ScalarCudaCall call;
    call.packed_codes = codes.data();
    call.packed_scales = scales.data();
    call.levels = c.levels.empty() ? nullptr : levels.data();
    call.x_perm = c.x_perm.empty() ? nullptr : static_cast<const int32_t*>(perm.data());
    call.bias = bias.data();
    call.residual = residual.data();
    call.x = x.data();
    call.y = y;
    call.batch = c.batch;
    return call;
  }
};

void check(const ScalarShape& shape, int64_t batch, Format format, bool permuted = false) {
  const Device d(ScalarCase(shape, batch, format, permuted, 5 + static_cast<uint64_t>(batch)));
  // fp16 rounds the answer by 2^-11; q - zero_point errs by at most 2^-12 of itself where the zero point is real: five
  // standard deviations of such errors are 1.3e-3 of the terms' norm at most. Integers: fp32 sums only.
  const double loose = format == Format::kRealZeros ? 1.3e-3 : 2e-5;
  std::vector<uint16_t> first;
  for (bool programmatic : {false, true}) {
    const CudaBuffer y(d.c.expected.size() * 2);
    ScalarCudaCall call = d.call(y.data());
    call.programmatic = programmatic;
    // Whole zero points subtract exactly either way: the same bits.
    call.whole_zero_points = programmatic && (format == Format::kIntegerZeros || format == Format::kSymmetric);
    ASSERT_EQ(scalar_mma_cuda_f16(shape, call), Status::kOk) << d.c.name();
    ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess) << d.c.name();
    const std::vector<uint16_t> got = y.read<uint16_t>();
    for (size_t i = 0; i < got.size(); ++i)
      ASSERT_NEAR(static_cast<double>(kernels::half_to_float(got[i])), d.c.expected[i],
                  std::fabs(d.c.expected[i]) * 0x1.02p-11 + loose * d.norm[i] + 6e-8)
          << d.c.name() << " format " << static_cast<int>(format) << " at " << i;
    if (first.empty()) first = got;
    ASSERT_EQ(got, first);
  }
}

TEST(ScalarMmaCuda, EqualsTheReferenceForEveryFormatBitsAndGroupSize) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t group : {32, 64, 128, 256, 512, 1024, 4096})
    for (Format format : {Format::kIntegerZeros, Format::kRealZeros, Format::kSymmetric, Format::kNf4})
      for (int bits : {2, 3, 4}) {
        if (format == Format::kNf4 && bits != 4) continue;
        check({.out_features = 40, .in_features = 1024, .nbits = bits, .group_size = group}, 1, format);
        check({.out_features = 33, .in_features = 1016, .nbits = bits, .group_size = group}, 11, format);
      }
}

TEST(ScalarMmaCuda, EqualsTheReferenceForBatchesOneToSixtyFour) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64})
    for (int bits : {2, 3, 4})
      check({.out_features = 50, .in_features = 520, .nbits = bits, .group_size = 128}, batch, Format::kIntegerZeros);
}

TEST(ScalarMmaCuda, EqualsTheReferenceAroundEachTileEdge) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 12, 20})
    for (int64_t rows : {1, 15, 16, 17, 4500})
      for (int64_t inputs : {8, 248, 256, 264, 2048, 2056, 4096, 4104})
        check({.out_features = rows,
               .in_features = rows > 1000 && inputs > 300 ? 264 : inputs,
               .nbits = 4,
               .group_size = 64},
              batch, Format::kIntegerZeros);
  for (int64_t batch : {1, 16, 32})
    for (int bits : {2, 3, 4})
      check({.out_features = 2300, .in_features = 4360, .nbits = bits, .group_size = 128}, batch,
            Format::kIntegerZeros);
}

TEST(ScalarMmaCuda, EqualsTheReferenceWhereAClusterSharesWideInputs) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {1, 5, 16, 23})
    for (int64_t rows : {1, 40, 1000})
      for (int64_t inputs : {4104, 5128, 11008})
        for (int bits : {2, 3, 4})
          check({.out_features = rows, .in_features = inputs, .nbits = bits, .group_size = 128}, batch,
                Format::kIntegerZeros);
  check({.out_features = 4100, .in_features = 4360, .nbits = 4, .group_size = 64}, 9, Format::kRealZeros);
  check({.out_features = 40, .in_features = 30000, .nbits = 4, .group_size = 64}, 16, Format::kNf4);  // chunks of x
}

/// Small on purpose: for `compute-sanitizer --tool racecheck`.
TEST(ScalarMmaCuda, EveryKernelOnASmallShape) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int64_t batch : {3, 12})
    for (int64_t inputs : {520, 4360})  // one pass, a cluster
      for (int bits : {2, 3, 4})
        check({.out_features = 40, .in_features = inputs, .nbits = bits, .group_size = 64}, batch, Format::kRealZeros);
  check({.out_features = 9000, .in_features = 4104, .nbits = 4, .group_size = 64}, 12, Format::kIntegerZeros);
}

TEST(ScalarMmaCuda, PermutesTheInputsForActOrder) {
  AQLM_EXP_NEEDS_HOPPER();
  for (int bits : {2, 3, 4})
    check({.out_features = 40, .in_features = 4224, .nbits = bits, .group_size = 128}, 9, Format::kIntegerZeros, true);
  for (int bits : {2, 3, 4})
    for (int64_t batch : {1, 9, 30})
      check({.out_features = 40, .in_features = 640, .nbits = bits, .group_size = 128}, batch, Format::kIntegerZeros,
            true);
}

TEST(ScalarDequantiseCuda, GivesTheRoundedWeight) {
  AQLM_EXP_NEEDS_HOPPER();
  for (Format format : {Format::kIntegerZeros, Format::kRealZeros, Format::kNf4})
    for (int bits : {2, 3, 4})
      for (auto [begin, end] : {std::pair<int64_t, int64_t>{0, 75}, {16, 33}, {64, 75}}) {
        if (format == Format::kNf4 && bits != 4) continue;
        const Device d(
            ScalarCase({.out_features = 75, .in_features = 536, .nbits = bits, .group_size = 64}, 1, format, false, 4));
        const CudaBuffer out(static_cast<size_t>((end - begin) * 536) * 2);
        ASSERT_EQ(scalar_dequantise_cuda_f16(d.c.shape, d.call(nullptr), begin, end, out.data()), Status::kOk);
        const std::vector<uint16_t> got = out.read<uint16_t>();
        for (size_t i = 0; i < got.size(); ++i) {
          const double expected = d.weight[static_cast<size_t>(begin * 536) + i];
          ASSERT_NEAR(static_cast<double>(kernels::half_to_float(got[i])), expected,
                      std::fabs(expected) * 0x1.02p-11 + 6e-8);
        }
      }
}

TEST(ScalarMmaCuda, RefusesOtherBitsAndGroups) {
  const Status unsupported = Status::kUnsupportedShape;
  EXPECT_EQ(scalar_mma_cuda_supports({.out_features = 8, .in_features = 64, .nbits = 4, .group_size = 32}, 1, false),
            Status::kOk);
  EXPECT_EQ(scalar_mma_cuda_supports({.out_features = 8, .in_features = 96, .nbits = 4, .group_size = 48}, 1, false),
            unsupported);
  EXPECT_EQ(scalar_mma_cuda_supports({.out_features = 8, .in_features = 60, .nbits = 4, .group_size = 32}, 1, false),
            unsupported);
  EXPECT_EQ(scalar_mma_cuda_supports({.out_features = 8, .in_features = 64, .nbits = 3, .group_size = 32}, 1, true),
            unsupported);
  EXPECT_EQ(scalar_mma_cuda_supports({.out_features = 8, .in_features = 64, .nbits = 4, .group_size = 32}, 65, false),
            unsupported);
}

}  // namespace
}  // namespace aqlm_exp::scalar_matvec
