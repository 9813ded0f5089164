#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/codebook/initialiser.h"
#include "framework/codebook/kmeans.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::codebook {
namespace {

double squared_error(const Initialiser& init, const at::Tensor& groups, const quant::CodeSpec& spec,
                     uint64_t seed = 1) {
  Rng rng(seed);
  const quant::AdditiveCode code = init.initialise(groups, {}, spec, rng);
  const at::Tensor books =
      code.codebooks.view({spec.num_codebooks, spec.codebook_size(), spec.out_group_size, spec.in_group_size});
  return (quant::sum_codewords(code.codes, books) - groups).square().sum().item<double>();
}

TEST(NearestCentroid, MatchesBruteForceAndTakesTheLowestOnTies) {
  const at::Tensor points = test::gaussian({300, 5}, 1), centroids = test::gaussian({17, 5}, 2);
  const at::Tensor distances = at::cdist(points.to(at::kDouble), centroids.to(at::kDouble));
  EXPECT_TRUE(nearest_centroid(points, centroids).to(at::kLong).equal(distances.argmin(1)));
  EXPECT_EQ(nearest_centroid(at::ones({1, 2}), at::ones({3, 2})).item<int32_t>(), 0);
}

TEST(KMeans, WithNoMorePointsThanClustersIsExactAndSurplusCentroidsAreZero) {
  const at::Tensor values = test::gaussian({8, 4}, 3);
  Rng rng(5);
  const KMeansResult fit = kmeans(values, 16, {.max_iter = 50}, rng);
  EXPECT_TRUE(fit.centroids.index_select(0, fit.assignment.to(at::kLong)).equal(values));
  EXPECT_EQ(fit.centroids.slice(0, 8).abs().sum().item<double>(), 0.0);
}

TEST(KMeans, AllEqualPointsGiveZeroError) {
  Rng rng(1);
  const KMeansResult fit = kmeans(at::ones({40, 3}), 4, {.max_iter = 10}, rng);
  EXPECT_TRUE(fit.centroids.index_select(0, fit.assignment.to(at::kLong)).equal(at::ones({40, 3})));
}

TEST(KMeans, AnIterationNeverRaisesTheError) {
  const at::Tensor points = test::gaussian({500, 4}, 8);
  double last = 1e9;
  for (int64_t iterations : {1, 2, 4, 8, 16}) {
    Rng rng(3);
    const KMeansResult fit = kmeans(points, 16, {.max_iter = iterations}, rng);
    const double error =
        (fit.centroids.index_select(0, fit.assignment.to(at::kLong)) - points).square().sum().item<double>();
    EXPECT_LE(error, last * (1 + 1e-6));
    last = error;
  }
}

TEST(ResidualKMeans, EachCodebookLowersReconstructionError) {
  const at::Tensor groups = test::gaussian({32, 8, 8}, 42);
  const auto init = test::build(initialisers(), R"({"type":"residual_kmeans","max_iter":10})");
  const double one = squared_error(*init, groups, {1, 4, 8, 1});
  const double two = squared_error(*init, groups, {2, 4, 8, 1});
  EXPECT_LT(two, one);
  EXPECT_LT(squared_error(*init, groups, {3, 4, 8, 1}), two);
}

TEST(ResidualKMeans, BeatsRandomCodewords) {
  const at::Tensor groups = test::gaussian({32, 8, 8}, 42);
  const auto kmeans_init = test::build(initialisers(), R"({"type":"residual_kmeans","max_iter":20})");
  const auto random_init = test::build(initialisers(), R"({"type":"random"})");
  EXPECT_LT(squared_error(*kmeans_init, groups, {2, 4, 8, 1}), squared_error(*random_init, groups, {2, 4, 8, 1}));
}

TEST(Initialisers, AreDeterministicAndExactWithFewerGroupsThanCodewords) {
  for (const char* json : {R"({"type":"residual_kmeans","max_iter":5})", R"({"type":"random"})"}) {
    const auto init = test::build(initialisers(), json);
    const at::Tensor groups = test::gaussian({4, 4, 8}, 1);
    EXPECT_EQ(squared_error(*init, groups, {2, 3, 8, 1}), squared_error(*init, groups, {2, 3, 8, 1})) << json;
    EXPECT_LT(squared_error(*init, groups, {1, 6, 8, 1}), 1e-9) << json;
  }
}

TEST(Initialisers, RejectWrongGroupSizeAndNan) {
  Rng rng(1);
  for (const char* json : {R"({"type":"residual_kmeans"})", R"({"type":"random"})"}) {
    const auto init = test::build(initialisers(), json);
    EXPECT_THROW(init->initialise(at::zeros({4, 4, 4}), {}, {1, 4, 8, 1}, rng), DataError);
    EXPECT_THROW(init->initialise(at::full({4, 4, 8}, std::nan("")), {}, {1, 4, 8, 1}, rng), DataError);
  }
}

TEST(ScaledGroups, HaveRowsOfUnitNormAndSurviveZeroRows) {
  at::Tensor weight = test::gaussian({4, 16}, 2);
  weight[2].zero_();
  const ScaledGroups scaled = divide_out_scales(weight, {1, 4, 8, 1});
  EXPECT_NEAR(scaled.groups[0].norm().item<double>(), 1.0, 1e-5);
  EXPECT_EQ(scaled.groups[2].abs().sum().item<double>(), 0.0);
  EXPECT_EQ(scaled.scales.sizes(), at::IntArrayRef({4, 1, 1, 1}));
}

TEST(GroupMetric, IsTheDiagonalBlocks) {
  const at::Tensor xtx = test::correlated_layer(2, 12, 3).xtx;
  const at::Tensor metric = group_metric(xtx, 4);
  for (int64_t j = 0; j < 3; ++j) {
    EXPECT_TRUE(metric[j].equal(xtx.slice(0, 4 * j, 4 * j + 4).slice(1, 4 * j, 4 * j + 4).to(at::kFloat)));
  }
}

}  // namespace
}  // namespace aqlm_exp::codebook
