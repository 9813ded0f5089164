// Codebooks and scales by least squares: against direct solutions, and what they promise on a real layer.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/codebook/initialiser.h"
#include "framework/quant/code_sums.h"
#include "framework/tuner/tuner.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/real_layer.h"

namespace aqlm_exp::tuner {
namespace {

quant::AdditiveWeight first_code(const quant::LayerProblem& problem, const quant::CodeSpec& spec) {
  Rng rng(1);
  const auto scaled = codebook::divide_out_scales(problem.weight, spec);
  const auto init = test::build(codebook::initialisers(), R"({"type":"residual_kmeans","max_iter":3})");
  const quant::AdditiveCode code = init->initialise(scaled.groups, {}, spec, rng);
  return quant::AdditiveWeight(
      spec, code.codes,
      code.codebooks.view({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}),
      scaled.scales);
}

double loss(const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  return quant::output_error(weight.dequantise(), problem.weight, problem.xtx);
}

/// Least loss that any codebooks reach with the weight's codes and scales: Ŵ = A c with one column of A per number in
/// the codebooks, solved as a dense least-squares problem in float64 under a factor of xtx.
double best_loss(const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  const int64_t unknowns = weight.codebooks().numel();
  const at::Tensor root = at::linalg_cholesky(problem.xtx.to(at::kDouble));  // xtx = R Rᵀ
  at::Tensor columns = at::empty({problem.weight.numel(), unknowns}, at::kDouble);
  for (int64_t i = 0; i < unknowns; ++i) {
    at::Tensor books = at::zeros_like(weight.codebooks());
    books.flatten()[i] = 1.0f;
    const quant::AdditiveWeight unit(weight.spec(), weight.codes(), books, weight.scales());
    columns.select(1, i).copy_(at::matmul(unit.dequantise().to(at::kDouble), root).flatten());
  }
  const at::Tensor target = at::matmul(problem.weight.to(at::kDouble), root).flatten();
  const at::Tensor solution = at::matmul(at::linalg_pinv(columns, 1e-9), target);
  return (at::matmul(columns, solution) - target).square().sum().item<double>();
}

TEST(LeastSquares, ReachesTheDirectSolution) {
  for (const quant::CodeSpec& spec :
       {quant::CodeSpec{2, 2, 4, 1}, quant::CodeSpec{1, 3, 4, 1}, quant::CodeSpec{2, 2, 4, 2}}) {
    const quant::LayerProblem problem = test::correlated_layer(24, 16, 6);
    quant::AdditiveWeight weight = first_code(problem, spec);
    const double best = best_loss(problem, weight);
    EXPECT_GT(loss(problem, weight), 1.01 * best);  // there is something to gain
    test::build(tuners(), R"({"type":"least_squares","iterations":60,"ridge":0.0})")->start(problem, weight)->tune();
    EXPECT_NEAR(loss(problem, weight), best, 1e-3 * best) << spec.str();
  }
}

TEST(LeastSquares, LowersTheLossAtEveryIterationCountOnARealLayer) {
  const quant::LayerProblem problem = test::real_layer();
  double last = 1e30;
  for (const int iterations : {1, 2, 4, 8}) {
    quant::AdditiveWeight weight = first_code(problem, {2, 5, 8, 1});
    const double before = loss(problem, weight);
    test::build(tuners(), R"({"type":"least_squares","iterations":)" + std::to_string(iterations) + "}")
        ->start(problem, weight)
        ->tune();
    const double now = loss(problem, weight);
    EXPECT_LT(now, before) << iterations;
    EXPECT_LT(now, last * (1 + 1e-6)) << iterations;
    last = now;
  }
}

TEST(LeastSquares, LeavesUnusedCodewordsWhereTheyAre) {
  const quant::LayerProblem problem = test::correlated_layer(16, 32, 7);
  quant::AdditiveWeight weight = first_code(problem, {2, 3, 8, 1});
  at::Tensor codes = weight.codes().clone();
  codes.select(2, 1).masked_fill_(codes.select(2, 1).eq(5), 4);  // word 5 of book 1 is used by nobody
  weight.set_codes(codes);
  const at::Tensor unused = weight.codebooks()[1][5].clone(), used = weight.codebooks()[1][4].clone();
  test::build(tuners(), R"({"type":"least_squares"})")->start(problem, weight)->tune();
  EXPECT_TRUE(at::allclose(weight.codebooks()[1][5], unused, 0, 1e-6));
  EXPECT_FALSE(at::allclose(weight.codebooks()[1][4], used, 0, 1e-6));
}

TEST(LeastSquares, SurvivesZeroRowsAndDeadColumns) {
  quant::LayerProblem problem = test::correlated_layer(16, 32, 3);
  problem.weight[2].zero_();
  problem.xtx.slice(0, 8, 16).zero_();  // a whole group that no token reaches
  problem.xtx.slice(1, 8, 16).zero_();
  quant::AdditiveWeight weight = first_code(problem, {2, 4, 8, 1});
  const double before = loss(problem, weight);
  for (const char* json : {R"({"type":"least_squares"})", R"({"type":"closed_form_scales"})"}) {
    test::build(tuners(), json)->start(problem, weight)->tune();
    EXPECT_TRUE(at::isfinite(weight.dequantise()).all().item<bool>()) << json;
  }
  EXPECT_LT(loss(problem, weight), before);
  EXPECT_LT(weight.dequantise()[2].abs().max().item<double>(), 1e-6);
}

TEST(ClosedFormScales, AreTheMinimumRowByRow) {
  for (const quant::CodeSpec& spec : {quant::CodeSpec{2, 3, 8, 1}, quant::CodeSpec{1, 3, 4, 2}}) {
    const quant::LayerProblem problem = test::correlated_layer(8, 32, 5);
    quant::AdditiveWeight weight = first_code(problem, spec);
    const double before = loss(problem, weight);
    test::build(tuners(), R"({"type":"closed_form_scales"})")->start(problem, weight)->tune();
    const double best = loss(problem, weight);
    EXPECT_LT(best, before);
    for (int64_t row = 0; row < weight.num_out_groups(); ++row) {
      for (const double factor : {0.99, 1.01}) {
        at::Tensor scales = weight.scales().clone();
        scales[row].mul_(factor);
        EXPECT_GT(loss(problem, quant::AdditiveWeight(spec, weight.codes(), weight.codebooks(), scales)), best);
      }
    }
  }
}

TEST(ClosedFormScales, KeepTheScaleOfARowWithoutEnergy) {
  const quant::LayerProblem problem = test::correlated_layer(8, 32, 5);
  quant::AdditiveWeight weight = first_code(problem, {1, 3, 8, 1});
  at::Tensor codes = weight.codes().clone();
  codes[3].fill_(7);
  weight.set_codes(codes);
  at::Tensor books = weight.codebooks();
  books[0][7].zero_();
  const float before = weight.scales()[3].item<float>();
  test::build(tuners(), R"({"type":"closed_form_scales"})")->start(problem, weight)->tune();
  EXPECT_EQ(weight.scales()[3].item<float>(), before);
}

TEST(CodeSums, MatchIndexAddBelowAndAboveTheSplit) {
  for (const int64_t num_rows : {0, 1, 1000, 200000}) {
    const at::Tensor rows = test::gaussian({num_rows, 3}, 1);
    const at::Tensor codes = at::arange(num_rows, at::kLong).mul(7919).remainder(13).to(at::kInt);
    const at::Tensor expected =
        at::zeros({13, 3}, at::kDouble).index_add_(0, codes.to(at::kLong), rows.to(at::kDouble));
    const at::Tensor sums = quant::sum_rows_by_code(rows, codes, 13);
    // eps of float32 times the number of terms is far above what is seen; a lost row would show as about 1
    EXPECT_TRUE(at::allclose(sums.to(at::kDouble), expected, 1e-4, 1e-2)) << num_rows;
    EXPECT_TRUE(sums.equal(quant::sum_rows_by_code(rows, codes.to(at::kLong), 13)));
  }
}

TEST(Tuners, OnAGpuGiveWhatTheCpuGives) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here; runs on one";
  const quant::LayerProblem problem = test::real_layer();
  quant::LayerProblem there = problem;
  there.weight = problem.weight.cuda();
  there.xtx = problem.xtx.cuda();
  for (const char* json : {R"({"type":"least_squares"})", R"({"type":"closed_form_scales"})"}) {
    quant::AdditiveWeight cpu = first_code(problem, {2, 6, 8, 1});
    const auto move = [&] {
      return quant::AdditiveWeight(cpu.spec(), cpu.codes().cuda(), cpu.codebooks().cuda().clone(),
                                   cpu.scales().cuda().clone());
    };
    quant::AdditiveWeight gpu = move(), again = move();
    test::build(tuners(), json)->start(problem, cpu)->tune();
    test::build(tuners(), json)->start(there, gpu)->tune();
    test::build(tuners(), json)->start(there, again)->tune();
    EXPECT_TRUE(gpu.dequantise().equal(again.dequantise())) << json;
    EXPECT_TRUE(at::allclose(gpu.dequantise().cpu(), cpu.dequantise(), 1e-3, 1e-4)) << json;
  }
}

}  // namespace
}  // namespace aqlm_exp::tuner
