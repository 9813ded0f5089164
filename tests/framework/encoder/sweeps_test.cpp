// Error feedback and coordinate descent: against brute force on tiny layers, and what they promise on real ones.
#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <limits>

#include "framework/base/error.h"
#include "framework/codebook/initialiser.h"
#include "framework/encoder/block_ldl.h"
#include "framework/encoder/encoder.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/real_layer.h"

namespace aqlm_exp::encoder {
namespace {

quant::AdditiveWeight first_code(const quant::LayerProblem& problem, const quant::CodeSpec& spec) {
  Rng rng(1);
  const auto scaled = codebook::divide_out_scales(problem.weight, spec);
  const auto init = test::build(codebook::initialisers(), R"({"type":"residual_kmeans","max_iter":5})");
  const quant::AdditiveCode code = init->initialise(scaled.groups, {}, spec, rng);
  return quant::AdditiveWeight(
      spec, code.codes,
      code.codebooks.view({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size}),
      scaled.scales);
}

double loss(const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  return quant::output_error(weight.dequantise(), problem.weight, problem.xtx);
}

void encode(const std::string& json, const quant::LayerProblem& problem, quant::AdditiveWeight& weight,
            uint64_t seed = 2) {
  Rng rng(seed);
  test::build(encoders(), json)->encode(problem, weight, rng);
}

TEST(BlockLdl, ReproducesXtxInVisitingOrder) {
  const quant::LayerProblem problem = test::correlated_layer(1, 24, 3);
  for (const GroupOrder how : {GroupOrder::kDescending, GroupOrder::kAscending, GroupOrder::kNatural}) {
    const BlockLdl factor = block_ldl(problem.xtx, 8, how, OnNotPositiveDefinite::kError, "x");
    at::Tensor middle = at::zeros({24, 24});
    for (int64_t j = 0; j < 3; ++j) {
      middle.slice(0, 8 * j, 8 * j + 8).slice(1, 8 * j, 8 * j + 8).copy_(factor.metric[j]);
      EXPECT_TRUE(
          at::allclose(factor.feedback.slice(0, 8 * j, 8 * j + 8).slice(1, 8 * j, 8 * j + 8), at::eye(8), 0, 1e-6));
      EXPECT_EQ(factor.feedback.slice(0, 8 * j + 8).slice(1, 8 * j, 8 * j + 8).abs().sum().item<double>(), 0.0);
    }
    const at::Tensor expected = problem.xtx.index_select(0, factor.columns).index_select(1, factor.columns);
    const at::Tensor product = at::matmul(at::matmul(factor.feedback, middle), factor.feedback.t());
    EXPECT_TRUE(at::allclose(product.to(at::kDouble), expected, 1e-4, 1e-5 * expected.max().item<double>()));
    EXPECT_EQ(factor.extra_damping, 0.0);
  }
}

TEST(BlockLdl, OrdersGroupsByTheirTrace) {
  const at::Tensor xtx = at::diag(at::tensor({1.0, 1.0, 5.0, 5.0, 3.0, 3.0}, at::kDouble));
  EXPECT_TRUE(group_order(xtx, 2, GroupOrder::kDescending).equal(at::tensor({1, 2, 0}, at::kLong)));
  EXPECT_TRUE(group_order(xtx, 2, GroupOrder::kAscending).equal(at::tensor({0, 2, 1}, at::kLong)));
  EXPECT_TRUE(group_order(at::eye(6), 2, GroupOrder::kDescending).equal(at::arange(3)));  // ties: as they lie
}

/// Group after group in natural order: the codes that are best if all groups behind could still be chosen freely, i.e.
/// under the Schur complement of their part of xtx. In float64, every sum of codewords tried.
at::Tensor conditional_codes(const quant::LayerProblem& problem, const quant::AdditiveWeight& weight) {
  const quant::CodeSpec& spec = weight.spec();
  const int64_t g = spec.in_group_size, in = weight.in_features();
  const at::Tensor target = problem.weight.to(at::kDouble), h = problem.xtx.to(at::kDouble);
  at::Tensor codes = at::zeros_like(weight.codes());
  for (int64_t j = 0; j < weight.num_in_groups(); ++j) {
    const int64_t end = (j + 1) * g;
    at::Tensor conditional = h.slice(0, 0, end).slice(1, 0, end);
    if (end < in) {
      const at::Tensor cross = h.slice(0, 0, end).slice(1, end);
      conditional = conditional - at::matmul(cross, at::linalg_solve(h.slice(0, end).slice(1, end), cross.t()));
    }
    int64_t tried = 1;
    for (int64_t m = 0; m < spec.num_codebooks; ++m) tried *= spec.codebook_size();
    at::Tensor best = at::full({weight.num_out_groups()}, std::numeric_limits<double>::infinity(), at::kDouble);
    at::Tensor chosen = codes.select(1, j).clone();
    for (int64_t index = 0; index < tried; ++index) {
      at::Tensor candidate = codes.clone();
      int64_t rest = index;
      for (int64_t m = spec.num_codebooks - 1; m >= 0; --m, rest /= spec.codebook_size()) {
        candidate.select(2, m).select(1, j).fill_(rest % spec.codebook_size());
      }
      const quant::AdditiveWeight trial(spec, candidate, weight.codebooks(), weight.scales());
      const at::Tensor error = (target - trial.dequantise()).slice(1, 0, end);
      const at::Tensor cost =
          (at::matmul(error, conditional) * error).sum(1).view({weight.num_out_groups(), -1}).sum(1);
      const at::Tensor better = cost < best;
      best = at::where(better, cost, best);
      chosen = at::where(better.unsqueeze(1), candidate.select(1, j), chosen);
    }
    codes.select(1, j).copy_(chosen);
  }
  return codes;
}

TEST(Ldlq, ChoosesWhatBruteForceWithFreeGroupsBehindChooses) {
  for (const quant::CodeSpec& spec :
       {quant::CodeSpec{2, 3, 8, 1}, quant::CodeSpec{1, 4, 4, 1}, quant::CodeSpec{2, 2, 4, 2}}) {
    const quant::LayerProblem problem = test::correlated_layer(8, 24, 9);
    for (const char* implementation : {"plain", "auto"}) {
      quant::AdditiveWeight weight = first_code(problem, spec);
      const at::Tensor expected = conditional_codes(problem, weight);
      encode(R"({"type":"ldlq","order":"natural","implementation":")" + std::string(implementation) + R"("})", problem,
             weight);
      EXPECT_TRUE(weight.codes().equal(expected)) << spec.str() << " " << implementation;
    }
  }
}

TEST(Ldlq, AWideBeamFindsTheOptimumOfATinyLayer) {
  const quant::CodeSpec spec{2, 1, 4, 1};  // four sums a group, two groups: a beam of 16 keeps every hypothesis
  const quant::LayerProblem problem = test::correlated_layer(6, 8, 21);
  quant::AdditiveWeight weight = first_code(problem, spec);
  at::Tensor best = at::full({6}, 1e30, at::kDouble);
  for (int64_t index = 0; index < 16; ++index) {
    const at::Tensor codes = at::tensor({index / 8, index / 4 % 2, index / 2 % 2, index % 2}, at::kInt)
                                 .view({1, 2, 2})
                                 .expand({6, 2, 2})
                                 .contiguous();
    const quant::AdditiveWeight trial(spec, codes, weight.codebooks(), weight.scales());
    const at::Tensor error = (trial.dequantise() - problem.weight).to(at::kDouble);
    best = at::minimum(best, (at::matmul(error, problem.xtx.to(at::kDouble)) * error).sum(1));
  }
  encode(R"({"type":"ldlq","beam_size":16})", problem, weight);
  EXPECT_NEAR(loss(problem, weight), best.sum().item<double>(), 1e-4 * best.sum().item<double>());
}

TEST(Ldlq, BeatsTheNearestCodesAndBeamsBeatOneHypothesis) {
  const quant::LayerProblem problem = test::correlated_layer(64, 64, 5);
  quant::AdditiveWeight nearest = first_code(problem, {2, 4, 8, 1});
  quant::AdditiveWeight one = first_code(problem, {2, 4, 8, 1}), four = first_code(problem, {2, 4, 8, 1});
  encode(R"({"type":"ldlq"})", problem, one);
  encode(R"({"type":"ldlq","beam_size":4})", problem, four);
  EXPECT_LT(loss(problem, one), loss(problem, nearest));
  EXPECT_LT(loss(problem, four), loss(problem, one));
}

struct Descent {
  quant::CodeSpec spec;
  std::string json;
};

class DescentCases : public testing::TestWithParam<Descent> {};

TEST_P(DescentCases, NeverRaisesTheLossOnARealLayer) {
  const auto [spec, json] = GetParam();
  const quant::LayerProblem problem = test::real_layer();
  quant::AdditiveWeight weight = first_code(problem, spec);
  const auto encoding = test::build(encoders(), json)->start(problem, spec);
  Rng rng(4);
  double last = loss(problem, weight);
  const double first = last;
  for (int round = 0; round < 2; ++round) {
    encoding->encode(weight, rng);
    const double now = loss(problem, weight);
    // moves are scored in float32: their sum may be off by some of its roundings
    EXPECT_LE(now, last * (1 + 1e-6)) << round;
    last = now;
  }
  EXPECT_LT(last, 0.95 * first);
}

INSTANTIATE_TEST_SUITE_P(Kinds, DescentCases,
                         testing::Values(Descent{{2, 4, 8, 1}, R"({"type":"icm"})"},
                                         Descent{{2, 4, 8, 1}, R"({"type":"icm","implementation":"plain"})"},
                                         Descent{{1, 6, 8, 1}, R"({"type":"icm","order":"natural"})"},
                                         Descent{{2, 4, 8, 1}, R"({"type":"icm","one_book":true,"order":"random"})"},
                                         Descent{{3, 4, 8, 1}, R"({"type":"icm","candidates":8})"},
                                         Descent{{3, 4, 8, 1},
                                                 R"({"type":"icm","one_book":true,"implementation":"plain"})"},
                                         Descent{{2, 4, 4, 2}, R"({"type":"icm"})"}));

TEST(Icm, LeavesNoGroupThatAnotherSumOfCodewordsWouldImprove) {
  const quant::CodeSpec spec{2, 2, 4, 1};
  const quant::LayerProblem problem = test::correlated_layer(6, 12, 8);
  quant::AdditiveWeight weight = first_code(problem, spec);
  for (int round = 0; round < 20; ++round) encode(R"({"type":"icm"})", problem, weight);
  const double settled = loss(problem, weight);
  for (int64_t group = 0; group < 3; ++group) {
    for (int64_t row = 0; row < 6; ++row) {
      for (int32_t index = 0; index < 16; ++index) {
        at::Tensor codes = weight.codes().clone();
        codes[row][group][0] = index / 4;
        codes[row][group][1] = index % 4;
        const quant::AdditiveWeight trial(spec, codes, weight.codebooks(), weight.scales());
        EXPECT_GE(loss(problem, trial), settled * (1 - 1e-5));
      }
    }
  }
}

TEST(Icm, OneBookAtATimeInRandomOrderIsTheReferencesBeamOfOne) {
  const quant::LayerProblem problem = test::correlated_layer(24, 32, 4);
  quant::AdditiveWeight descent = first_code(problem, {1, 4, 8, 1}), beam = first_code(problem, {1, 4, 8, 1});
  // with one codebook both draw the same orders from the generator
  encode(R"({"type":"icm","one_book":true,"order":"random"})", problem, descent);
  encode(R"({"type":"beam_search","beam_size":1})", problem, beam);
  EXPECT_NEAR(loss(problem, descent), loss(problem, beam), 0.02 * loss(problem, beam));
}

TEST(Sweeps, KernelsAgreeWithPlainTensorsOnARealLayer) {
  const quant::LayerProblem problem = test::real_layer();
  for (const quant::CodeSpec& spec :
       {quant::CodeSpec{2, 6, 8, 1}, quant::CodeSpec{1, 8, 8, 1}, quant::CodeSpec{3, 3, 8, 1}}) {
    for (const char* type : {"ldlq", "icm"}) {
      quant::AdditiveWeight fused = first_code(problem, spec), plain = first_code(problem, spec);
      const std::string head = R"({"type":")" + std::string(type) + R"(","implementation":)";
      encode(head + R"("auto"})", problem, fused);
      encode(head + R"("plain"})", problem, plain);
      // Near-ties may fall either way by rounding, and what follows them with them: losses agree closely, not bit by
      // bit.
      EXPECT_NEAR(loss(problem, fused), loss(problem, plain), 5e-3 * loss(problem, plain)) << spec.str() << type;
    }
  }
}

TEST(Sweeps, AreDeterministicAndSurviveZeroRowsAndDeadColumns) {
  quant::LayerProblem problem = test::correlated_layer(16, 32, 3);
  problem.weight[2].zero_();
  problem.xtx.select(0, 5).zero_();
  problem.xtx.select(1, 5).zero_();
  problem.xtx.diagonal().add_(0.1);  // as objective.damping does
  for (const char* json : {R"({"type":"ldlq"})", R"({"type":"ldlq","beam_size":3})", R"({"type":"icm"})",
                           R"({"type":"icm","one_book":true,"order":"random"})"}) {
    quant::AdditiveWeight a = first_code(problem, {2, 4, 8, 1}), b = first_code(problem, {2, 4, 8, 1});
    encode(json, problem, a);
    encode(json, problem, b);
    EXPECT_TRUE(a.codes().equal(b.codes())) << json;
    EXPECT_TRUE(at::isfinite(a.dequantise()).all().item<bool>()) << json;
    EXPECT_LT(a.dequantise()[2].abs().max().item<double>(), 1e-6) << json;
  }
}

TEST(Ldlq, RefusesOrDampsAnXtxThatIsNotPositiveDefinite) {
  quant::LayerProblem problem = test::correlated_layer(8, 16, 3);
  const at::Tensor one = test::gaussian({16, 1}, 4).to(at::kDouble);
  problem.xtx = at::matmul(one, one.t());  // a single token
  quant::AdditiveWeight weight = first_code(problem, {2, 3, 8, 1});
  EXPECT_THROW(encode(R"({"type":"ldlq"})", problem, weight), NumericalError);
  const auto encoding = test::build(encoders(), R"({"type":"ldlq","on_not_positive_definite":"increase_damping"})")
                            ->start(problem, weight.spec());
  EXPECT_GT(encoding->metrics().at("extra_damping"), 0.0);
  Rng rng(1);
  encoding->encode(weight, rng);
  EXPECT_TRUE(at::isfinite(weight.dequantise()).all().item<bool>());
  problem.xtx.zero_();
  EXPECT_THROW(encode(R"({"type":"ldlq","on_not_positive_definite":"increase_damping"})", problem, weight),
               NumericalError);
}

TEST(Sweeps, RefuseAWeightOfAnotherShape) {
  const quant::LayerProblem problem = test::correlated_layer(8, 16, 3), other = test::correlated_layer(8, 32, 3);
  quant::AdditiveWeight weight = first_code(other, {2, 3, 8, 1});
  EXPECT_THROW(encode(R"({"type":"ldlq"})", problem, weight), DataError);
  EXPECT_THROW(encode(R"({"type":"icm"})", problem, weight), DataError);
  EXPECT_THROW(encode(R"({"type":"ldlq","search":"joint"})", other,
                      *std::make_unique<quant::AdditiveWeight>(first_code(other, {3, 3, 8, 1}))),
               ConfigError);
}

TEST(Sweeps, OnAGpuGiveWhatTheCpuGives) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here; runs on one";
  const quant::LayerProblem problem = test::real_layer();
  quant::LayerProblem there = problem;
  there.weight = problem.weight.cuda();
  there.xtx = problem.xtx.cuda();
  for (const quant::CodeSpec& spec : {quant::CodeSpec{2, 8, 8, 1}, quant::CodeSpec{1, 8, 8, 1}}) {
    for (const char* type : {"ldlq", "icm"}) {
      const std::string json = R"({"type":")" + std::string(type) + R"("})";
      quant::AdditiveWeight cpu = first_code(problem, spec);
      quant::AdditiveWeight gpu(spec, cpu.codes().cuda(), cpu.codebooks().cuda(), cpu.scales().cuda());
      quant::AdditiveWeight again(spec, cpu.codes().cuda(), cpu.codebooks().cuda(), cpu.scales().cuda());
      encode(json, problem, cpu);
      encode(json, there, gpu);
      encode(json, there, again);
      EXPECT_TRUE(gpu.codes().equal(again.codes())) << spec.str() << type;
      EXPECT_NEAR(loss(there, gpu), loss(problem, cpu), 5e-3 * loss(problem, cpu)) << spec.str() << type;
    }
  }
}

}  // namespace
}  // namespace aqlm_exp::encoder
