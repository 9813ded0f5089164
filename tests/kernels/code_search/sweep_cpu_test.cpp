#include <gtest/gtest.h>

#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/code_search_ref.h"
#include "tests/kernels/code_search/code_search_case.h"
#include "tests/kernels/code_search/workspace.h"

namespace aqlm_exp::code_search {
namespace {

using kernels::CpuIsa;
using kernels::Status;

struct Answer {
  std::vector<int32_t> codes;
  std::vector<float> loss;
};

Answer run(const SweepCase& c, SweepKind kind, SweepSearch search, int threads, CpuIsa isa, int candidates = 3) {
  Answer a;
  SweepCall call = c.call(kind, search, a.codes, a.loss);
  call.candidates = candidates;
  Workspace workspace(sweep_cpu_workspace_bytes(c.shape, search, threads));
  EXPECT_EQ(sweep_cpu(c.shape, call, {threads, isa, workspace.data()}), Status::kOk);
  workspace.expect_guard_intact();
  return a;
}
Answer reference(const SweepCase& c, SweepKind kind, SweepSearch search, int candidates = 3) {
  Answer a;
  SweepCall call = c.call(kind, search, a.codes, a.loss);
  call.candidates = candidates;
  sweep_ref(c.shape, call);
  return a;
}
double total(const std::vector<float>& v) {
  double sum = 0;
  for (float x : v) sum += static_cast<double>(x);
  return sum;
}

constexpr SweepKind kFeedback = SweepKind::kErrorFeedback, kDescent = SweepKind::kCoordinateDescent;

struct Param {
  SweepShape shape;
  SweepKind kind;
  SweepSearch search;
};
class SweepCpu : public testing::TestWithParam<std::tuple<Param, CpuIsa>> {};
class SweepCpuDescent : public SweepCpu {};

// Float and double part ways where two codes are within rounding of each other, and from there on all of a row's codes
// may differ: nearly all rows must agree, the rest only in loss.
TEST_P(SweepCpu, AgreesWithTheReference) {
  const auto& [p, isa] = GetParam();
  const SweepCase c = sweep_case(p.shape, /*integers=*/false, 11);
  const Answer want = reference(c, p.kind, p.search), got = run(c, p.kind, p.search, 2, isa);
  const size_t row = got.codes.size() / static_cast<size_t>(p.shape.rows);
  int64_t differ = 0;
  for (size_t r = 0; r < static_cast<size_t>(p.shape.rows); ++r) {
    differ += !std::equal(got.codes.begin() + static_cast<std::ptrdiff_t>(r * row),
                          got.codes.begin() + static_cast<std::ptrdiff_t>((r + 1) * row),
                          want.codes.begin() + static_cast<std::ptrdiff_t>(r * row));
    ASSERT_NEAR(got.loss[r], want.loss[r], 0.05 * std::abs(want.loss[r]) + 1e-4);
  }
  EXPECT_LE(differ, p.shape.rows / 20);
  EXPECT_NEAR(total(got.loss), total(want.loss), 1e-3 * std::abs(total(want.loss)) + 1e-4);
}

TEST_P(SweepCpu, ReportsTheTrueLoss) {
  const auto& [p, isa] = GetParam();
  const SweepCase c = sweep_case(p.shape, /*integers=*/false, 12);
  const Answer got = run(c, p.kind, p.search, 1, isa);
  for (int64_t r = 0; r < p.shape.rows; ++r) {
    const double before = p.kind == kDescent ? c.loss(r, c.start) : 0;
    EXPECT_NEAR(static_cast<double>(got.loss[static_cast<size_t>(r)]), c.loss(r, got.codes) - before,
                2e-5 * (c.loss(r, got.codes) + before));
  }
}

TEST_P(SweepCpu, DecidesTiesAsTheReferenceDoes) {
  const auto& [p, isa] = GetParam();
  const SweepCase c = sweep_case(p.shape, /*integers=*/true, 13);  // float32 is exact here
  const Answer want = reference(c, p.kind, p.search), got = run(c, p.kind, p.search, 2, isa);
  EXPECT_EQ(got.codes, want.codes);
  EXPECT_EQ(got.loss, want.loss);
}

TEST_P(SweepCpu, ThreadsChangeNothing) {
  const auto& [p, isa] = GetParam();
  const SweepCase c = sweep_case(p.shape, /*integers=*/false, 14);
  const Answer one = run(c, p.kind, p.search, 1, isa);
  for (int threads : {2, 3, 64}) {
    const Answer many = run(c, p.kind, p.search, threads, isa);
    ASSERT_EQ(many.codes, one.codes) << threads;
    ASSERT_EQ(many.loss, one.loss) << threads;
  }
}

TEST_P(SweepCpuDescent, NeverRaisesARowsLoss) {
  const auto& [p, isa] = GetParam();
  SweepCase c = sweep_case(p.shape, /*integers=*/false, 15);
  for (int sweep = 0; sweep < 3; ++sweep) {
    const Answer got = run(c, p.kind, p.search, 2, isa);
    for (int64_t r = 0; r < p.shape.rows; ++r) {
      EXPECT_LE(c.loss(r, got.codes), c.loss(r, c.start) * (1 + 1e-6));
      EXPECT_LE(got.loss[static_cast<size_t>(r)], 0.0F);
    }
    c.start = got.codes;
    c.pull();
  }
}

constexpr SweepSearch kExact = SweepSearch::kExact, kStages = SweepSearch::kStages, kOneBook = SweepSearch::kOneBook;

std::string parameter_name(const testing::TestParamInfo<std::tuple<Param, CpuIsa>>& at) {
  const Param& p = std::get<0>(at.param);
  const char* search = p.search == kExact ? "exact" : p.search == kStages ? "stages" : "one_book";
  return std::string(kernels::cpu_isa_name(std::get<1>(at.param))) + "_" + name_of(p.shape) +
         (p.kind == kDescent ? "_descent_" : "_feedback_") + search;
}

// Two column blocks and a ragged one; padded codewords (fewer than 32); a book of several vectors; odd group sizes.
const auto kFeedbackCases =
    testing::Values(Param{{40, 20, 8, 2, 4}, kFeedback, kExact}, Param{{7, 3, 8, 2, 6}, kFeedback, kExact},
                    Param{{33, 37, 4, 2, 3}, kFeedback, kExact}, Param{{19, 9, 16, 2, 4}, kFeedback, kExact},
                    Param{{23, 19, 8, 1, 7}, kFeedback, kExact}, Param{{5, 3, 3, 1, 5}, kFeedback, kExact},
                    Param{{23, 17, 8, 3, 4}, kFeedback, kStages}, Param{{9, 5, 8, 2, 9}, kFeedback, kStages},
                    Param{{9, 5, 8, 1, 5}, kFeedback, kStages});
const auto kDescentCases =
    testing::Values(Param{{40, 20, 8, 2, 4}, kDescent, kExact}, Param{{21, 35, 4, 2, 5}, kDescent, kExact},
                    Param{{23, 9, 16, 1, 7}, kDescent, kExact}, Param{{23, 17, 8, 4, 4}, kDescent, kStages},
                    Param{{23, 17, 8, 3, 5}, kDescent, kOneBook}, Param{{23, 17, 8, 1, 5}, kDescent, kOneBook});
const auto kLevels = testing::Values(CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512);

INSTANTIATE_TEST_SUITE_P(Feedback, SweepCpu, testing::Combine(kFeedbackCases, kLevels), parameter_name);
INSTANTIATE_TEST_SUITE_P(Descent, SweepCpu, testing::Combine(kDescentCases, kLevels), parameter_name);
INSTANTIATE_TEST_SUITE_P(Cases, SweepCpuDescent, testing::Combine(kDescentCases, kLevels), parameter_name);

TEST(SweepCpuExact, IsNoWorseThanAnyNumberOfCandidatesInOneGroup) {
  const SweepCase c = sweep_case({64, 1, 8, 2, 5}, false, 21);
  const Answer exact = run(c, kFeedback, kExact, 1, CpuIsa::kBest);
  double last = 1e30;
  for (int candidates : {1, 4, 32}) {
    const Answer some = run(c, kFeedback, kStages, 1, CpuIsa::kBest, candidates);
    EXPECT_GE(total(some.loss), total(exact.loss) * (1 - 1e-6));
    EXPECT_LE(total(some.loss), last);
    last = total(some.loss);
  }
  EXPECT_NEAR(last, total(exact.loss), 1e-5 * last);  // all 32 first codewords carried: exact
}

TEST(SweepCpuFeedback, BeatsTheNearestCodewordOfEachGroup) {
  const SweepCase c = sweep_case({64, 32, 8, 2, 4}, false, 22);
  SweepCase alone = c;  // the same metric, nothing fed back
  for (float& x : alone.v) x = std::isnan(x) ? x : 0.0F;
  const Answer with = run(c, kFeedback, kExact, 1, CpuIsa::kBest),
               without = run(alone, kFeedback, kExact, 1, CpuIsa::kBest);
  EXPECT_LT(c.loss(with.codes), 0.95 * c.loss(without.codes));
}

TEST(SweepCpuRow, WithScaleZeroOrNanLeavesTheOthersAlone) {
  SweepCase c = sweep_case({9, 6, 8, 2, 4}, false, 23);
  for (SweepKind kind : {kFeedback, kDescent}) {
    const Answer clean = run(c, kind, kExact, 1, CpuIsa::kBest);
    SweepCase spoilt = c;
    spoilt.scales[2] = 0;
    spoilt.weight[5 * 48 + 7] = spoilt.pulled[5 * 48 + 7] = std::nanf("");
    const Answer got = run(spoilt, kind, kExact, 1, CpuIsa::kBest);
    for (size_t r = 0; r < 9; ++r)
      for (size_t i = r * 12; i < (r + 1) * 12; ++i) {
        EXPECT_GE(got.codes[i], 0);
        EXPECT_LT(got.codes[i], 16);
        if (r != 2 && r != 5) {
          EXPECT_EQ(got.codes[i], clean.codes[i]) << r;
        }
      }
  }
}

TEST(SweepCpuOneBook, OfSixteenBitsIsSearchedWhole) {
  SweepCase c = sweep_case({3, 2, 8, 1, 16}, false, 24);
  std::fill(c.v.begin(), c.v.end(), 0.0F);
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t p = 0; p < 2; ++p)
      for (int64_t d = 0; d < 8; ++d)
        c.codebooks[static_cast<size_t>((65535 - 1000 * r - p) * 8 + d)] =
            c.weight_at(r, p, d) / c.scales[static_cast<size_t>(r)];
  const Answer got = run(c, kFeedback, kExact, 2, CpuIsa::kBest);
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t p = 0; p < 2; ++p)
      EXPECT_EQ(got.codes[static_cast<size_t>(r * 2 + c.order[static_cast<size_t>(p)])], 65535 - 1000 * r - p);
}

TEST(SweepCpuLevels, Avx2AndAvx512AgreeBitForBit) {
  if (kernels::best_cpu_isa() < CpuIsa::kAvx512) GTEST_SKIP() << "needs AVX-512";
  const SweepCase c = sweep_case({50, 18, 8, 2, 5}, false, 25);
  const Answer a = run(c, kFeedback, kExact, 1, CpuIsa::kAvx2), b = run(c, kFeedback, kExact, 1, CpuIsa::kAvx512);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.loss, b.loss);
}

TEST(SweepCpuShape, OutsideItsLimitsIsRefused) {
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 2, 8}, kFeedback, kExact, 0), Status::kOk);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 2, 9}, kFeedback, kExact, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 3, 2}, kDescent, kExact, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 2, 16}, kDescent, kStages, 64), Status::kOk);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 2, 16}, kDescent, kStages, 65), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 2, 16}, kDescent, kStages, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 2, 8}, kFeedback, kOneBook, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 65, 2, 8}, kFeedback, kExact, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cpu_supports({1, 1, 8, 17, 8}, kFeedback, kStages, 1), Status::kUnsupportedShape);
}

}  // namespace
}  // namespace aqlm_exp::code_search
