#include "kernels/additive_matvec/additive_generic_cpu.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/additive_matvec/additive_case.h"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::Status;

AdditiveGenericCpuCall call_of(const AdditiveCase& c, const std::vector<uint16_t>& wrapped, int threads) {
  AdditiveGenericCpuCall call;
  call.codes = c.codes8.empty() ? static_cast<const void*>(wrapped.data()) : c.codes8.data();
  call.codebooks = c.codebooks.data();
  call.scales = c.scales.data();
  call.bias = c.bias.data();
  call.residual = c.residual.data();
  call.x = c.x.data();
  call.batch = c.batch;
  call.threads = threads;
  return call;
}

/// Codes of 9 to 16 bits as the format stores them: wrapped to a signed number of nbits bits.
std::vector<uint16_t> wrap(const AdditiveCase& c) {
  std::vector<uint16_t> out;
  const int half = 1 << (c.shape.nbits_per_codebook - 1);
  for (uint16_t code : c.codes) out.push_back(static_cast<uint16_t>(code < half ? code : code - 2 * half));
  return out;
}

void check(int bits, int codebooks, int out_group, int group, bool per_group) {
  const int64_t groups = 11;
  AdditiveShape shape{.out_features = 12,
                      .in_features = groups * group,
                      .num_codebooks = codebooks,
                      .nbits_per_codebook = bits,
                      .in_group_size = group,
                      .out_group_size = out_group,
                      .scale_groups = per_group ? groups : 1};
  ASSERT_EQ(additive_generic_cpu_supports(shape), Status::kOk);
  const AdditiveCase c(shape, 5, 3);
  const std::vector<uint16_t> wrapped = wrap(c);
  std::vector<float> y(c.expected.size(), std::nanf(""));
  AdditiveGenericCpuCall call = call_of(c, wrapped, 2);
  call.y = y.data();
  ASSERT_EQ(additive_generic_cpu(shape, call), Status::kOk);
  for (size_t i = 0; i < y.size(); ++i)
    ASSERT_NEAR(static_cast<double>(y[i]), c.expected[i], 2e-5) << c.name();  // 200 fp32 terms of size 1
  std::vector<double> dense(static_cast<size_t>(shape.out_features * shape.in_features));
  additive_dequantise_ref(shape, c.codes.data(), c.codebooks.data(), c.scales.data(), dense.data());
  std::vector<float> weight(dense.size(), std::nanf(""));
  additive_generic_cpu_dequantise(shape, call, 0, shape.num_out_groups(), weight.data());
  for (size_t i = 0; i < weight.size(); ++i) ASSERT_NEAR(static_cast<double>(weight[i]), dense[i], 1e-6) << c.name();
}

TEST(AdditiveGenericCpu, EqualsTheReferenceForAnyScheme) {
  for (int bits : {1, 5, 8, 9, 12})
    for (int codebooks : {1, 2, 3})
      for (int out_group : {1, 2, 4})
        for (int group : {1, 3, 8, 16})
          for (bool per_group : {false, true}) check(bits, codebooks, out_group, group, per_group);
  check(16, 1, 1, 8, false);
  check(16, 2, 1, 16, false);
}

TEST(AdditiveGenericCpu, GivesTheSameBitsForAnyNumberOfThreads) {
  const AdditiveCase c({.out_features = 100, .in_features = 64, .num_codebooks = 2, .nbits_per_codebook = 12}, 6, 4);
  const std::vector<uint16_t> wrapped = wrap(c);
  std::vector<float> first;
  for (int threads : {1, 2, 7, 64}) {
    std::vector<float> y(c.expected.size());
    AdditiveGenericCpuCall call = call_of(c, wrapped, threads);
    call.y = y.data();
    ASSERT_EQ(additive_generic_cpu(c.shape, call), Status::kOk);
    if (first.empty()) first = y;
    ASSERT_EQ(y, first);
  }
}

TEST(AdditiveGenericCpu, RefusesGroupsAboveItsBuffer) {
  AdditiveShape shape{.out_features = 64, .in_features = 64, .in_group_size = 32, .out_group_size = 64};
  EXPECT_EQ(additive_generic_cpu_supports(shape), Status::kUnsupportedShape);
  EXPECT_EQ(additive_generic_cpu(shape, {}), Status::kUnsupportedShape);
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec
