#include <gtest/gtest.h>

#include <limits>

#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/code_search_ref.h"
#include "tests/kernels/code_search/code_search_case.h"
#include "tests/kernels/code_search/workspace.h"

namespace aqlm_exp::code_search {
namespace {

using kernels::CpuIsa;
using kernels::Status;

struct Answer {
  std::vector<int32_t> index;
  std::vector<float> score;
};

Answer run(const NearestCase& c, int threads, CpuIsa isa) {
  Answer a;
  const NearestCall call = c.call(a.index, a.score);
  Workspace workspace(nearest_cpu_workspace_bytes(c.shape, threads));
  EXPECT_EQ(nearest_cpu(c.shape, call, {threads, isa, workspace.data()}), Status::kOk);
  workspace.expect_guard_intact();
  return a;
}
Answer reference(const NearestCase& c) {
  Answer a;
  nearest_ref(c.shape, c.call(a.index, a.score));
  return a;
}

/// Score of codeword k in double, and the size of its terms: float32 sums err by at most (g + 2) eps of that.
std::pair<double, double> score_of(const NearestCase& c, int64_t b, int64_t r, int64_t k) {
  const int64_t g = c.shape.group_size;
  double sum = 0, size = 0;
  for (int64_t d = 0; d < g; ++d) {
    const auto w = static_cast<double>(c.book[static_cast<size_t>(k * g + d)]);
    const double term = -2 * w * static_cast<double>(c.queries[static_cast<size_t>((b * c.shape.rows + r) * g + d)]);
    sum += term, size += std::abs(term);
    if (!c.bias.empty()) continue;
    if (c.metric.empty()) {
      sum += w * w, size += w * w;
      continue;
    }
    for (int64_t e = 0; e < g; ++e) {
      const double part = w * static_cast<double>(c.metric[static_cast<size_t>((b * g + d) * g + e)]) *
                          static_cast<double>(c.book[static_cast<size_t>(k * g + e)]);
      sum += part, size += std::abs(part);
    }
  }
  if (!c.bias.empty()) {
    sum += static_cast<double>(c.bias[static_cast<size_t>(b * c.shape.codewords + k)]);
    size += std::abs(sum);
  }
  return {sum, size};
}

struct Param {
  NearestShape shape;
  Bias bias;
};
class NearestCpu : public testing::TestWithParam<std::tuple<Param, CpuIsa>> {};

TEST_P(NearestCpu, FindsTheLowestScore) {
  const auto& [param, isa] = GetParam();
  const NearestCase c = nearest_case(param.shape, param.bias, /*integers=*/false, 1);
  const Answer want = reference(c), got = run(c, 2, isa);
  int64_t differ = 0;
  for (int64_t b = 0; b < c.shape.batches; ++b)
    for (int64_t r = 0; r < c.shape.rows; ++r) {
      const auto i = static_cast<size_t>(b * c.shape.rows + r);
      ASSERT_GE(got.index[i], 0);
      ASSERT_LT(got.index[i], c.shape.codewords);
      const auto [mine, size] = score_of(c, b, r, got.index[i]);
      const auto [best, best_size] = score_of(c, b, r, want.index[i]);
      const double tolerance = (c.shape.group_size + 4) * 1.2e-7 * (size + best_size);
      ASSERT_LE(mine, best + tolerance) << "batch " << b << " row " << r;
      ASSERT_NEAR(static_cast<double>(got.score[i]), mine, tolerance);
      differ += got.index[i] != want.index[i];
    }
  EXPECT_LE(differ, c.shape.batches * c.shape.rows / 100);
}

TEST_P(NearestCpu, TiesGoToTheLowestIndex) {
  const auto& [param, isa] = GetParam();
  const NearestCase c = nearest_case(param.shape, param.bias, /*integers=*/true, 2);
  const Answer want = reference(c), got = run(c, 3, isa);
  EXPECT_EQ(got.index, want.index);
  EXPECT_EQ(got.score, want.score);
}

TEST_P(NearestCpu, ThreadsChangeNothing) {
  const auto& [param, isa] = GetParam();
  const NearestCase c = nearest_case(param.shape, param.bias, /*integers=*/false, 3);
  const Answer one = run(c, 1, isa);
  for (int threads : {2, 5, 64}) {
    const Answer many = run(c, threads, isa);
    ASSERT_EQ(many.index, one.index) << threads;
    ASSERT_EQ(many.score, one.score) << threads;
  }
}

std::string parameter_name(const testing::TestParamInfo<std::tuple<Param, CpuIsa>>& at) {
  const Param& p = std::get<0>(at.param);
  return std::string(kernels::cpu_isa_name(std::get<1>(at.param))) + "_" + std::to_string(p.shape.batches) + "x" +
         std::to_string(p.shape.rows) + "_" + std::to_string(p.shape.codewords) + "_g" +
         std::to_string(p.shape.group_size) + "_" + std::to_string(static_cast<int>(p.bias));
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, NearestCpu,
    testing::Combine(testing::Values(Param{{1, 1, 1, 8}, Bias::kNone}, Param{{1, 300, 256, 8}, Bias::kNone},
                                     Param{{5, 67, 256, 8}, Bias::kMetric}, Param{{3, 7, 33, 4}, Bias::kGiven},
                                     Param{{2, 19, 100, 16}, Bias::kMetric}, Param{{1, 9, 31, 3}, Bias::kMetric},
                                     Param{{2, 5, 600, 64}, Bias::kGiven}, Param{{1, 257, 1000, 8}, Bias::kGiven}),
                     testing::Values(CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512)),
    parameter_name);

TEST(NearestCpuBook, Of65536CodewordsIsSearchedWhole) {
  NearestCase c = nearest_case({1, 11, 65536, 8}, Bias::kNone, false, 4);
  for (int64_t r = 0; r < 11; ++r)  // plant the nearest: first, last and in between
    for (int64_t d = 0; d < 8; ++d)
      c.book[static_cast<size_t>(65535 * r / 10 * 8 + d)] = c.queries[static_cast<size_t>(r * 8 + d)];
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    const Answer a = run(c, 2, isa);
    for (int64_t r = 0; r < 11; ++r) EXPECT_EQ(a.index[static_cast<size_t>(r)], 65535 * r / 10);
  }
}

TEST(NearestCpuQuery, WithNanGetsIndexZeroAndStaysAlone) {
  NearestCase c = nearest_case({1, 9, 100, 8}, Bias::kNone, false, 5);
  const Answer clean = run(c, 1, CpuIsa::kBest);
  c.queries[3 * 8 + 2] = std::nanf("");
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512}) {
    const Answer a = run(c, 1, isa);
    EXPECT_EQ(a.index[3], 0);
    EXPECT_EQ(a.score[3], std::numeric_limits<float>::infinity());
    for (size_t r = 0; r < 9; ++r) {
      if (r != 3) {
        EXPECT_EQ(a.index[r], clean.index[r]);
      }
    }
  }
}

TEST(NearestCpuLevels, Avx2AndAvx512AgreeBitForBit) {
  if (kernels::best_cpu_isa() < CpuIsa::kAvx512) GTEST_SKIP() << "needs AVX-512";
  const NearestCase c = nearest_case({4, 100, 500, 8}, Bias::kMetric, false, 6);
  const Answer a = run(c, 1, CpuIsa::kAvx2), b = run(c, 1, CpuIsa::kAvx512);
  EXPECT_EQ(a.index, b.index);
  EXPECT_EQ(a.score, b.score);
}

TEST(AccumulateCpu, AgreesWithDoubleForAnyNumberOfThreads) {
  for (NearestShape shape : {NearestShape{1, 500, 7, 8}, NearestShape{6, 50, 16, 8}, NearestShape{3, 11, 300, 4}}) {
    for (bool weighted : {false, true}) {
      const AccumulateCase c = accumulate_case(shape, weighted, 7);
      const AccumulateCase::Answer want = c.run([&](const AccumulateCall& call) { accumulate_ref(shape, call); });
      for (int threads : {1, 2, 64}) {
        Workspace workspace(accumulate_cpu_workspace_bytes(shape, threads));
        const AccumulateCase::Answer got = c.run([&](const AccumulateCall& call) {
          EXPECT_EQ(accumulate_cpu(shape, call, {threads, CpuIsa::kBest, workspace.data()}), Status::kOk);
        });
        workspace.expect_guard_intact();
        EXPECT_EQ(got.sums, want.sums);  // both round an exact sum once
        EXPECT_EQ(got.counts, want.counts);
      }
    }
  }
}

TEST(NearestCpuShape, OutsideItsLimitsIsRefused) {
  EXPECT_EQ(nearest_cpu_supports({1, 1, 65536, 64}), Status::kOk);
  for (NearestShape shape : {NearestShape{0, 1, 4, 8}, NearestShape{1, 0, 4, 8}, NearestShape{1, 1, 0, 8},
                             NearestShape{1, 1, 65537, 8}, NearestShape{1, 1, 4, 0}, NearestShape{1, 1, 4, 65}})
    EXPECT_EQ(nearest_cpu_supports(shape), Status::kUnsupportedShape);
}

}  // namespace
}  // namespace aqlm_exp::code_search
