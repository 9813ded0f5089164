#include "framework/codebook/metric_kmeans.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/codebook/initialiser.h"
#include "framework/codebook/kmeans.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/real_layer.h"

namespace aqlm_exp::codebook {
namespace {

struct Problem {
  at::Tensor points, metric, weights;  // [G, O, g], [G, ig, ig], [O]
};

Problem some_problem(int64_t num_groups, int64_t num_rows, int64_t og, int64_t ig) {
  const at::Tensor a = test::gaussian({num_groups, ig, ig}, 2);
  return {test::gaussian({num_groups, num_rows, og * ig}, 1), at::bmm(a, a.transpose(1, 2)) + 0.1 * at::eye(ig),
          test::gaussian({num_rows}, 3).square() + 0.1};
}

/// Weighted squared distances of all points to all centroids, float64: [G, O, K].
at::Tensor distances(const Problem& p, const at::Tensor& centroids) {
  const int64_t ig = p.metric.size(1);
  const at::Tensor d = (p.points.unsqueeze(2) - centroids).to(at::kDouble);  // [G, O, K, og * ig]
  const at::Tensor split = d.view({d.size(0), d.size(1), d.size(2), -1, ig});
  const at::Tensor image = at::matmul(split, p.metric.to(at::kDouble).view({-1, 1, 1, ig, ig}));
  return (image * split).sum({3, 4}) * p.weights.view({1, -1, 1});
}

double error(const Problem& p, const MetricKMeansResult& fit) {
  return distances(p, fit.centroids).gather(2, fit.assignment.to(at::kLong).unsqueeze(2)).sum().item<double>();
}

TEST(MetricKMeans, AssignsEveryPointToItsNearestCentroid) {
  for (const int64_t og : {1, 2}) {
    const Problem p = some_problem(5, 40, og, 4);
    Rng rng(1);
    const MetricKMeansResult fit = metric_kmeans(p.points, p.metric, p.weights, 16, {.max_iter = 4}, rng);
    EXPECT_TRUE(fit.assignment.to(at::kLong).equal(distances(p, fit.centroids).argmin(2)));
  }
}

TEST(MetricKMeans, CentroidsAreTheWeightedMeansOfTheirMembersInTheMetric) {
  const Problem p = some_problem(6, 50, 1, 4);
  Rng rng(1);
  const MetricKMeansResult settled =
      metric_kmeans(p.points, p.metric, p.weights, 8, {.max_iter = 300, .reseed_every = 0}, rng);
  // At a fixed point no centroid can be moved to advantage: the gradient Σ w (c − v) M over its members vanishes.
  for (int64_t k = 0; k < 8; ++k) {
    const at::Tensor member = settled.assignment.eq(k).to(at::kFloat) * p.weights;  // [G, O]
    const at::Tensor pull = at::bmm(p.points - settled.centroids[k], p.metric) * member.unsqueeze(2);
    EXPECT_LT(pull.flatten(0, 1).sum(0).abs().max().item<double>(), 1e-3 * pull.abs().sum().item<double>()) << k;
  }
}

TEST(MetricKMeans, AnIterationNeverRaisesTheErrorOnARealLayer) {
  const quant::LayerProblem problem = test::real_layer();
  const quant::CodeSpec spec{1, 6, 8, 1};
  const ScaledGroups scaled = divide_out_scales(problem.weight, spec);
  const Problem p{scaled.groups.transpose(0, 1).contiguous(), group_metric(problem.xtx, 8),
                  scaled.scales.flatten().square()};
  double last = 1e30;
  for (const int64_t iterations : {1, 2, 4, 8, 16}) {
    Rng rng(3);
    const double now = error(p, metric_kmeans(p.points, p.metric, p.weights, spec.codebook_size(),
                                              {.max_iter = iterations, .reseed_every = 0}, rng));
    EXPECT_LE(now, last * (1 + 1e-5)) << iterations;
    last = now;
  }
}

TEST(MetricKMeans, ReseedingPutsUnusedCentroidsToWork) {
  // Most points coincide: a random start gives several centroids the same place, and all but one of them no members.
  Problem p = some_problem(2, 200, 1, 4);
  p.points.slice(1, 0, 180).fill_(1.0);
  const auto unused = [&](int64_t reseed_every) {
    Rng rng(5);
    const MetricKMeansResult fit =
        metric_kmeans(p.points, p.metric, p.weights, 16, {.max_iter = 20, .reseed_every = reseed_every}, rng);
    return at::bincount(fit.assignment.flatten().to(at::kLong), {}, 16).eq(0).sum().item<int64_t>();
  };
  EXPECT_GT(unused(0), 2);
  EXPECT_LT(unused(4), unused(0));
}

TEST(MetricKMeans, WithNoMorePointsThanClustersIsExactAndSurplusCentroidsAreZero) {
  const Problem p = some_problem(2, 3, 1, 4);
  Rng rng(1);
  const MetricKMeansResult fit = metric_kmeans(p.points, p.metric, p.weights, 16, {}, rng);
  EXPECT_EQ(error(p, fit), 0.0);
  EXPECT_EQ(fit.centroids.slice(0, 6).abs().sum().item<double>(), 0.0);
}

TEST(MetricKMeans, FitsOnASubsetAndAssignsAll) {
  const Problem p = some_problem(4, 400, 1, 4);
  Rng first(1), second(1);
  const MetricKMeansResult all = metric_kmeans(p.points, p.metric, p.weights, 8, {.max_iter = 10}, first);
  const MetricKMeansResult some =
      metric_kmeans(p.points, p.metric, p.weights, 8, {.max_iter = 10, .max_points_per_centroid = 50}, second);
  EXPECT_TRUE(some.assignment.to(at::kLong).equal(distances(p, some.centroids).argmin(2)));
  EXPECT_FALSE(some.centroids.equal(all.centroids));
  EXPECT_LT(error(p, some), 1.3 * error(p, all));
}

TEST(MetricKMeans, IsDeterministicAndTakesDeadColumnsAndZeroRows) {
  Problem p = some_problem(4, 60, 1, 4);
  p.metric[1].zero_();
  p.points.select(1, 7).zero_();
  p.weights[7] = 1e-18;
  Rng first(1), second(1);
  const MetricKMeansResult a = metric_kmeans(p.points, p.metric, p.weights, 16, {}, first);
  const MetricKMeansResult b = metric_kmeans(p.points, p.metric, p.weights, 16, {}, second);
  EXPECT_TRUE(a.centroids.equal(b.centroids));
  EXPECT_TRUE(at::isfinite(a.centroids).all().item<bool>());
}

TEST(KMeans, ReseedingPutsUnusedCentroidsToWork) {
  at::Tensor points = test::gaussian({400, 4}, 1);
  points.slice(0, 0, 360).fill_(1.0);
  const auto unused = [&](int64_t reseed_every) {
    Rng rng(5);
    const KMeansResult fit = kmeans(points, 16, {.max_iter = 30, .reseed_every = reseed_every}, rng);
    return at::bincount(fit.assignment.to(at::kLong), {}, 16).eq(0).sum().item<int64_t>();
  };
  EXPECT_GT(unused(0), 2);
  EXPECT_LT(unused(4), unused(0));
}

TEST(ResidualKMeans, InTheMetricLowersTheErrorUnderXtx) {
  const quant::LayerProblem problem = test::real_layer();
  const quant::CodeSpec spec{2, 5, 8, 1};
  const ScaledGroups scaled = divide_out_scales(problem.weight, spec);
  const Weighting weighting{group_metric(problem.xtx, 8), scaled.scales.flatten().square()};
  const auto error_with = [&](const char* metric) {
    Rng rng(1);
    const auto init = test::build(
        initialisers(), R"({"type":"residual_kmeans","max_iter":20,"metric":")" + std::string(metric) + R"("})");
    const quant::AdditiveCode code = init->initialise(scaled.groups, weighting, spec, rng);
    const quant::AdditiveWeight weight(spec, code.codes, code.codebooks.view({2, 32, 1, 8}), scaled.scales);
    return quant::output_error(weight.dequantise(), problem.weight, problem.xtx);
  };
  EXPECT_LT(error_with("full"), error_with("none"));
  EXPECT_LT(error_with("diag"), error_with("none"));
}

TEST(ResidualKMeans, OnAGpuGivesTheSameEachTimeAndWhatTheCpuGives) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here; runs on one";
  const Problem p = some_problem(8, 300, 1, 8);
  Rng on_cpu(1), first(1), second(1);
  const MetricKMeansResult cpu = metric_kmeans(p.points, p.metric, p.weights, 16, {}, on_cpu);
  const MetricKMeansResult a = metric_kmeans(p.points.cuda(), p.metric.cuda(), p.weights.cuda(), 16, {}, first);
  const MetricKMeansResult b = metric_kmeans(p.points.cuda(), p.metric.cuda(), p.weights.cuda(), 16, {}, second);
  EXPECT_TRUE(a.centroids.equal(b.centroids));
  EXPECT_NEAR(error(p, {a.centroids.cpu(), a.assignment.cpu()}), error(p, cpu), 0.02 * error(p, cpu));
}

}  // namespace
}  // namespace aqlm_exp::codebook
