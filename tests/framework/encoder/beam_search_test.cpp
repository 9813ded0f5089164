#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/codebook/initialiser.h"
#include "framework/encoder/beam_search_step.h"
#include "framework/encoder/encoder.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::encoder {
namespace {

quant::AdditiveWeight first_code(const quant::LayerProblem& problem, const quant::CodeSpec& spec, uint64_t seed = 1) {
  Rng rng(seed);
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

struct Case {
  quant::CodeSpec spec;
  int64_t beam_size;
};

class BeamSearchCases : public testing::TestWithParam<Case> {};

TEST_P(BeamSearchCases, StepKeepsTheBestCandidatesOfBruteForce) {
  const auto [spec, beam_size] = GetParam();
  const quant::LayerProblem problem = test::correlated_layer(4, 16, 9);
  const quant::AdditiveWeight weight = first_code(problem, spec);
  const BeamProblem fixed{problem.xtx.to(at::kFloat), weight.codebooks(), weight.scales().flatten(), beam_size};
  BeamState state{
      weight.codes().unsqueeze(0).clone(),
      (problem.weight - weight.dequantise()).view({1, weight.num_out_groups(), spec.out_group_size, 16}).clone(),
      {}};
  state.loss = at::matmul(state.residual, fixed.xtx).mul_(state.residual).sum({2, 3});

  const auto row_losses = [&](const at::Tensor& codes) {  // exact, float64: [num_out_groups]
    const quant::AdditiveWeight trial(spec, codes.contiguous(), weight.codebooks(), weight.scales());
    const at::Tensor d = (trial.dequantise() - problem.weight).to(at::kDouble);
    return at::matmul(d, problem.xtx).mul_(d).sum(1).view({weight.num_out_groups(), -1}).sum(1);
  };
  for (const auto& [group, book] :
       {std::pair<int64_t, int64_t>{1, 0}, {0, spec.num_codebooks - 1}, {1, spec.num_codebooks - 1}}) {
    std::vector<at::Tensor> candidates;  // per hypothesis and codeword: exact losses per row
    for (int64_t b = 0; b < state.codes.size(0); ++b) {
      for (int64_t k = 0; k < spec.codebook_size(); ++k) {
        at::Tensor codes = state.codes[b].clone();
        codes.select(2, book).select(1, group).fill_(k);
        candidates.push_back(row_losses(codes));
      }
    }
    const at::Tensor all = std::get<0>(at::stack(candidates).sort(0));  // [B * K, rows]
    beam_search_step(fixed, group, book, state);
    const int64_t kept = state.codes.size(0);
    EXPECT_EQ(kept, std::min<int64_t>(beam_size, all.size(0)));
    for (int64_t b = 0; b < kept; ++b) {
      const at::Tensor exact = row_losses(state.codes[b]);
      // float32 arithmetic of the step against float64: losses agree to a few hundred eps of their size
      EXPECT_TRUE(at::allclose(exact, all[b], 1e-4, 1e-4 * all.max().item<double>() * 1e-2)) << group << " " << book;
      EXPECT_TRUE(at::allclose(state.loss[b].to(at::kDouble), exact, 1e-3, 1e-2));
      const quant::AdditiveWeight now(spec, state.codes[b].contiguous(), weight.codebooks(), weight.scales());
      EXPECT_TRUE(at::allclose(state.residual[b].reshape({4, 16}), problem.weight - now.dequantise(), 1e-4, 1e-4));
    }
  }
}

TEST_P(BeamSearchCases, ARoundNeverRaisesTheLoss) {
  const auto [spec, beam_size] = GetParam();
  const quant::LayerProblem problem = test::correlated_layer(8, 32, 4);
  quant::AdditiveWeight weight = first_code(problem, spec);
  const auto search =
      test::build(encoders(), R"({"type":"beam_search","beam_size":)" + std::to_string(beam_size) + "}");
  Rng rng(2);
  double last = loss(problem, weight);
  for (int round = 0; round < 3; ++round) {
    search->encode(problem, weight, rng);
    const double now = loss(problem, weight);
    EXPECT_LE(now, last * (1 + 1e-5));
    last = now;
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, BeamSearchCases,
                         testing::Values(Case{{2, 3, 8, 1}, 1}, Case{{2, 3, 8, 1}, 3}, Case{{1, 4, 4, 2}, 2},
                                         Case{{3, 2, 8, 1}, 8}, Case{{2, 3, 4, 4}, 1}));

TEST(BeamSearch, AWideBeamFindsTheOptimumOfATinyLayer) {
  // One row, two groups, one codebook of four words: 16 codes in all, and a beam of 16 keeps every hypothesis.
  const quant::CodeSpec spec{1, 2, 4, 1};
  const quant::LayerProblem problem = test::correlated_layer(1, 8, 21);
  quant::AdditiveWeight weight = first_code(test::correlated_layer(16, 8, 22), spec);
  weight = quant::AdditiveWeight(spec, at::zeros({1, 2, 1}, at::kInt), weight.codebooks(), at::full({1, 1, 1, 1}, 3.f));
  double best = 1e30;
  for (int32_t a = 0; a < 4; ++a) {
    for (int32_t b = 0; b < 4; ++b) {
      const quant::AdditiveWeight trial(spec, at::tensor({a, b}, at::kInt).view({1, 2, 1}), weight.codebooks(),
                                        weight.scales());
      best = std::min(best, loss(problem, trial));
    }
  }
  Rng rng(1);
  test::build(encoders(), R"({"type":"beam_search","beam_size":16})")->encode(problem, weight, rng);
  EXPECT_NEAR(loss(problem, weight), best, 1e-4 * best);
}

TEST(BeamSearch, SameSeedGivesSameCodes) {
  const quant::LayerProblem problem = test::correlated_layer(8, 32, 4);
  quant::AdditiveWeight a = first_code(problem, {2, 4, 8, 1}), b = first_code(problem, {2, 4, 8, 1});
  const auto search = test::build(encoders(), R"({"type":"beam_search","beam_size":2})");
  Rng first(5), second(5);
  search->encode(problem, a, first);
  search->encode(problem, b, second);
  EXPECT_TRUE(a.codes().equal(b.codes()));
}

}  // namespace
}  // namespace aqlm_exp::encoder
