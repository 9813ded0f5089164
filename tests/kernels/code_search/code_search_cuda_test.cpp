// The GPU's code search against the CPU's, which is held to the double reference by its own tests. In small integers
// float32 is exact, so there both must give the same codes, ties included.
#include "kernels/code_search/code_search_cuda.h"

#include <gtest/gtest.h>

#include <limits>

#include "kernels/code_search/code_search_cpu.h"
#include "tests/kernels/code_search/code_search_case.h"
#include "tests/kernels/code_search/workspace.h"
#include "tests/kernels/cuda_buffer.h"

namespace aqlm_exp::code_search {
namespace {

using kernels::CpuIsa;
using kernels::CudaBuffer;
using kernels::Status;

template <typename T>
CudaBuffer upload(const std::vector<T>& v) {
  return v.empty() ? CudaBuffer(1) : CudaBuffer(v.data(), v.size() * sizeof(T));
}
constexpr int kThreads = 2;

struct Nearest {
  std::vector<int32_t> index;
  std::vector<float> score;
};
Nearest on_cpu(const NearestCase& c) {
  Nearest a;
  const NearestCall call = c.call(a.index, a.score);
  Workspace workspace(nearest_cpu_workspace_bytes(c.shape, kThreads));
  EXPECT_EQ(nearest_cpu(c.shape, call, {kThreads, CpuIsa::kBest, workspace.data()}), Status::kOk);
  return a;
}
Nearest on_gpu(const NearestCase& c) {
  Nearest a;
  NearestCall call = c.call(a.index, a.score);
  const CudaBuffer queries = upload(c.queries), book = upload(c.book), bias = upload(c.bias), metric = upload(c.metric),
                   index(a.index.size() * 4), score(a.score.size() * 4),
                   workspace(static_cast<size_t>(nearest_cuda_workspace_bytes(c.shape)));
  call.queries = static_cast<const float*>(queries.data());
  call.book = static_cast<const float*>(book.data());
  call.bias = c.bias.empty() ? nullptr : static_cast<const float*>(bias.data());
  call.metric = c.metric.empty() ? nullptr : static_cast<const float*>(metric.data());
  call.index = static_cast<int32_t*>(index.data());
  call.score = static_cast<float*>(score.data());
  EXPECT_EQ(nearest_cuda(c.shape, call, {workspace.data(), nullptr}), Status::kOk);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  a.index = index.read<int32_t>();
  a.score = score.read<float>();
  workspace.read<char>();  // its guard
  return a;
}

struct NearestParam {
  NearestShape shape;
  Bias bias;
};
class NearestCuda : public testing::TestWithParam<NearestParam> {};

TEST_P(NearestCuda, DecidesTiesAsTheCpuDoes) {
  AQLM_EXP_NEEDS_HOPPER();
  const NearestCase c = nearest_case(GetParam().shape, GetParam().bias, /*integers=*/true, 31);
  const Nearest want = on_cpu(c), got = on_gpu(c);
  EXPECT_EQ(got.index, want.index);
  EXPECT_EQ(got.score, want.score);
}

TEST_P(NearestCuda, AgreesWithTheCpuAndItself) {
  AQLM_EXP_NEEDS_HOPPER();
  const NearestCase c = nearest_case(GetParam().shape, GetParam().bias, /*integers=*/false, 32);
  const Nearest want = on_cpu(c), got = on_gpu(c), again = on_gpu(c);
  EXPECT_EQ(got.index, again.index);
  EXPECT_EQ(got.score, again.score);
  size_t differ = 0;
  for (size_t i = 0; i < got.index.size(); ++i) {
    differ += got.index[i] != want.index[i];
    ASSERT_NEAR(got.score[i], want.score[i], 2e-5F * (std::abs(want.score[i]) + 50)) << i;
  }
  EXPECT_LE(differ, got.index.size() / 100);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, NearestCuda,
    testing::Values(NearestParam{{1, 1, 1, 8}, Bias::kNone}, NearestParam{{1, 5000, 256, 8}, Bias::kNone},
                    NearestParam{{5, 67, 256, 8}, Bias::kMetric}, NearestParam{{3, 33, 77, 4}, Bias::kGiven},
                    NearestParam{{2, 19, 1000, 16}, Bias::kMetric}, NearestParam{{3, 40, 65536, 8}, Bias::kMetric},
                    NearestParam{{1, 33, 40000, 4}, Bias::kNone}));

TEST(NearestCudaQuery, WithNanGetsIndexZeroAndStaysAlone) {
  AQLM_EXP_NEEDS_HOPPER();
  NearestCase c = nearest_case({1, 40, 300, 8}, Bias::kNone, false, 33);
  const Nearest clean = on_gpu(c);
  c.queries[3 * 8 + 2] = std::nanf("");
  const Nearest got = on_gpu(c);
  EXPECT_EQ(got.index[3], 0);
  EXPECT_EQ(got.score[3], std::numeric_limits<float>::infinity());
  for (size_t r = 0; r < 40; ++r) {
    if (r != 3) {
      EXPECT_EQ(got.index[r], clean.index[r]);
    }
  }
}

TEST(AccumulateCuda, EqualsTheCpuBitForBit) {
  AQLM_EXP_NEEDS_HOPPER();
  // in shared memory: one batch, several; in global memory: many codewords
  for (NearestShape shape :
       {NearestShape{1, 10001, 256, 8}, NearestShape{300, 70, 256, 8}, NearestShape{3, 5000, 16, 16},
        NearestShape{5, 301, 5000, 8}, NearestShape{2, 33, 65536, 4}}) {
    for (bool weighted : {false, true}) {
      const AccumulateCase c = accumulate_case(shape, weighted, 34);
      Workspace workspace(accumulate_cpu_workspace_bytes(shape, kThreads));
      const AccumulateCase::Answer want = c.run([&](const AccumulateCall& call) {
        EXPECT_EQ(accumulate_cpu(shape, call, {kThreads, CpuIsa::kBest, workspace.data()}), Status::kOk);
      });
      const CudaBuffer index = upload(c.index), values = upload(c.values), weights = upload(c.weights),
                       sums(want.sums.size() * 4), counts(want.counts.size() * 4),
                       scratch(static_cast<size_t>(accumulate_cuda_workspace_bytes(shape)));
      const AccumulateCall call{static_cast<const int32_t*>(index.data()), static_cast<const float*>(values.data()),
                                c.weights.empty() ? nullptr : static_cast<const float*>(weights.data()),
                                static_cast<float*>(sums.data()), static_cast<float*>(counts.data())};
      ASSERT_EQ(accumulate_cuda(shape, call, {scratch.data(), nullptr}), Status::kOk);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      EXPECT_EQ(sums.read<float>(), want.sums);
      EXPECT_EQ(counts.read<float>(), want.counts);
      scratch.read<char>();
    }
  }
}

struct Swept {
  std::vector<int32_t> codes;
  std::vector<float> loss;
};
constexpr SweepKind kFeedback = SweepKind::kErrorFeedback, kDescent = SweepKind::kCoordinateDescent;
constexpr SweepSearch kExact = SweepSearch::kExact, kOneBook = SweepSearch::kOneBook, kStages = SweepSearch::kStages;

Swept on_cpu(const SweepCase& c, SweepKind kind, SweepSearch search, int candidates = 5) {
  Swept a;
  SweepCall call = c.call(kind, search, a.codes, a.loss);
  call.candidates = candidates;
  Workspace workspace(sweep_cpu_workspace_bytes(c.shape, search, kThreads));
  EXPECT_EQ(sweep_cpu(c.shape, call, {kThreads, CpuIsa::kBest, workspace.data()}), Status::kOk);
  return a;
}
Swept on_gpu(const SweepCase& c, SweepKind kind, SweepSearch search, int candidates = 5) {
  Swept a;
  SweepCall call = c.call(kind, search, a.codes, a.loss);
  call.candidates = candidates;
  const bool descent = kind == kDescent;
  const CudaBuffer target = upload(descent ? c.pulled : c.weight), feedback = upload(descent ? c.h_float : c.v),
                   metric = upload(descent ? c.h_blocks : c.m), order = upload(c.order), scales = upload(c.scales),
                   books = upload(c.codebooks), book_order = upload(c.book_order), codes = upload(a.codes),
                   loss = upload(a.loss), workspace(static_cast<size_t>(sweep_cuda_workspace_bytes(c.shape, search)));
  call.target = static_cast<const float*>(target.data());
  call.feedback = static_cast<const float*>(feedback.data());
  call.metric = static_cast<const float*>(metric.data());
  call.order = static_cast<const int32_t*>(order.data());
  call.scales = static_cast<const float*>(scales.data());
  call.codebooks = static_cast<const float*>(books.data());
  call.book_order = static_cast<const int32_t*>(book_order.data());
  call.codes = static_cast<int32_t*>(codes.data());
  call.loss = static_cast<float*>(loss.data());
  EXPECT_EQ(sweep_cuda(c.shape, call, {workspace.data(), nullptr}), Status::kOk);
  EXPECT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  a.codes = codes.read<int32_t>();
  a.loss = loss.read<float>();
  workspace.read<char>();  // its guard
  return a;
}
double total(const std::vector<float>& v) {
  double sum = 0;
  for (float x : v) sum += static_cast<double>(x);
  return sum;
}

struct SweepParam {
  SweepShape shape;
  SweepKind kind;
  SweepSearch search;
};
class SweepCuda : public testing::TestWithParam<SweepParam> {};

TEST_P(SweepCuda, DecidesTiesAsTheCpuDoes) {
  AQLM_EXP_NEEDS_HOPPER();
  const auto& p = GetParam();
  const SweepCase c = sweep_case(p.shape, /*integers=*/true, 41);
  const Swept want = on_cpu(c, p.kind, p.search), got = on_gpu(c, p.kind, p.search);
  EXPECT_EQ(got.codes, want.codes);
  EXPECT_EQ(got.loss, want.loss);
}

TEST_P(SweepCuda, AgreesWithTheCpuAndItself) {
  AQLM_EXP_NEEDS_HOPPER();
  const auto& p = GetParam();
  const SweepCase c = sweep_case(p.shape, /*integers=*/false, 42);
  const Swept want = on_cpu(c, p.kind, p.search), got = on_gpu(c, p.kind, p.search),
              again = on_gpu(c, p.kind, p.search);
  EXPECT_EQ(got.codes, again.codes);
  EXPECT_EQ(got.loss, again.loss);
  const size_t row = got.codes.size() / static_cast<size_t>(p.shape.rows);
  int64_t differ = 0;
  for (size_t r = 0; r < static_cast<size_t>(p.shape.rows); ++r) {
    differ += !std::equal(got.codes.begin() + static_cast<std::ptrdiff_t>(r * row),
                          got.codes.begin() + static_cast<std::ptrdiff_t>((r + 1) * row),
                          want.codes.begin() + static_cast<std::ptrdiff_t>(r * row));
    ASSERT_NEAR(got.loss[r], want.loss[r], 0.1 * std::abs(want.loss[r]) + 1e-3) << r;
  }
  EXPECT_LE(differ, p.shape.rows / 20);
  EXPECT_NEAR(total(got.loss), total(want.loss), 1e-3 * std::abs(total(want.loss)) + 1e-3);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, SweepCuda,
    testing::Values(SweepParam{{9, 20, 8, 2, 4}, kFeedback, kExact},     // 8 rows a CTA; 16 codewords
                    SweepParam{{70, 19, 8, 2, 8}, kFeedback, kExact},    // ragged column block and rows
                    SweepParam{{1101, 17, 8, 2, 6}, kFeedback, kExact},  // 16 rows a CTA; two chunks
                    SweepParam{{2121, 18, 8, 2, 7}, kFeedback, kExact},  // 32 rows a CTA
                    SweepParam{{33, 37, 4, 2, 8}, kFeedback, kExact},    //
                    SweepParam{{19, 9, 16, 2, 8}, kFeedback, kExact},    //
                    SweepParam{{41, 19, 8, 1, 7}, kFeedback, kExact},    //
                    SweepParam{{9, 3, 8, 1, 16}, kFeedback, kExact},     //
                    SweepParam{{2121, 18, 8, 1, 9}, kFeedback, kExact},  //
                    SweepParam{{1101, 9, 16, 1, 8}, kFeedback, kExact},  //
                    SweepParam{{40, 20, 8, 2, 8}, kDescent, kExact},     //
                    SweepParam{{21, 35, 4, 2, 5}, kDescent, kExact},     //
                    SweepParam{{23, 9, 16, 1, 7}, kDescent, kExact},     //
                    SweepParam{{2121, 18, 8, 2, 5}, kDescent, kExact},   //
                    SweepParam{{23, 17, 8, 3, 4}, kFeedback, kStages}, SweepParam{{9, 5, 8, 2, 9}, kFeedback, kStages},
                    SweepParam{{9, 5, 8, 1, 5}, kFeedback, kStages}, SweepParam{{17, 5, 16, 4, 8}, kFeedback, kStages},
                    SweepParam{{23, 17, 8, 4, 4}, kDescent, kStages}, SweepParam{{23, 9, 4, 8, 3}, kDescent, kStages},
                    SweepParam{{23, 17, 8, 4, 4}, kDescent, kOneBook},  //
                    SweepParam{{40, 19, 8, 2, 8}, kDescent, kOneBook},  //
                    SweepParam{{1101, 9, 4, 3, 8}, kDescent, kOneBook}));

TEST(SweepCudaStages, TakeAnyNumberOfCandidates) {  // lanes that run out of kept candidates look again
  AQLM_EXP_NEEDS_HOPPER();
  for (int nbits : {2, 8}) {
    const SweepCase c = sweep_case({20, 3, 8, 3, nbits}, /*integers=*/true, 46);
    for (int candidates : {1, 2, 31, 32}) {
      const Swept want = on_cpu(c, kFeedback, kStages, candidates), got = on_gpu(c, kFeedback, kStages, candidates);
      EXPECT_EQ(got.codes, want.codes) << candidates;
      EXPECT_EQ(got.loss, want.loss) << candidates;
    }
  }
}

TEST(SweepCudaSegments, ChangeNothing) {  // more groups than tables exist for at a time
  AQLM_EXP_NEEDS_HOPPER();
  const SweepCase c = sweep_case({5, 530, 4, 2, 3}, /*integers=*/true, 43, /*with_h=*/false);
  const Swept want = on_cpu(c, kFeedback, kExact), got = on_gpu(c, kFeedback, kExact);
  EXPECT_EQ(got.codes, want.codes);
  EXPECT_EQ(got.loss, want.loss);
}

TEST(SweepCudaDescent, NeverRaisesARowsLoss) {
  AQLM_EXP_NEEDS_HOPPER();
  SweepCase c = sweep_case({60, 20, 8, 2, 6}, /*integers=*/false, 44);
  for (int sweep = 0; sweep < 3; ++sweep) {
    const Swept got = on_gpu(c, kDescent, kExact);
    for (int64_t r = 0; r < c.shape.rows; ++r) EXPECT_LE(c.loss(r, got.codes), c.loss(r, c.start) * (1 + 1e-6));
    c.start = got.codes;
    c.pull();
  }
}

TEST(SweepCudaRow, WithScaleZeroOrNanLeavesTheOthersAlone) {
  AQLM_EXP_NEEDS_HOPPER();
  const SweepCase c = sweep_case({19, 6, 8, 2, 4}, false, 45);
  for (SweepKind kind : {kFeedback, kDescent}) {
    const Swept clean = on_gpu(c, kind, kExact);
    SweepCase spoilt = c;
    spoilt.scales[2] = 0;
    spoilt.weight[5 * 48 + 7] = spoilt.pulled[5 * 48 + 7] = std::nanf("");
    const Swept got = on_gpu(spoilt, kind, kExact);
    for (size_t r = 0; r < 19; ++r)
      for (size_t i = r * 12; i < (r + 1) * 12; ++i) {
        EXPECT_GE(got.codes[i], 0);
        EXPECT_LT(got.codes[i], 16);
        if (r != 2 && r != 5) {
          EXPECT_EQ(got.codes[i], clean.codes[i]) << r;
        }
      }
  }
}

TEST(SweepCudaShape, OutsideItsLimitsIsRefused) {
  EXPECT_EQ(sweep_cuda_supports({1, 1, 8, 2, 8}, kFeedback, kExact, 0), Status::kOk);
  EXPECT_EQ(sweep_cuda_supports({1, 1, 8, 4, 8}, kFeedback, kStages, 32), Status::kOk);
  EXPECT_EQ(sweep_cuda_supports({1, 1, 8, 4, 8}, kFeedback, kStages, 33), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cuda_supports({1, 1, 6, 2, 8}, kFeedback, kExact, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cuda_supports({1, 1, 8, 2, 9}, kFeedback, kExact, 0), Status::kUnsupportedShape);
  EXPECT_EQ(sweep_cuda_supports({1, 1, 8, 2, 8}, kFeedback, kOneBook, 0), Status::kUnsupportedShape);
  EXPECT_EQ(nearest_cuda_supports({1, 1, 65536, 16}), Status::kOk);
  EXPECT_EQ(nearest_cuda_supports({1, 1, 65537, 16}), Status::kUnsupportedShape);
  EXPECT_EQ(nearest_cuda_supports({1, 1, 4, 5}), Status::kUnsupportedShape);
}

}  // namespace
}  // namespace aqlm_exp::code_search
