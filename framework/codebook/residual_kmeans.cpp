// Residual k-means: codebook m clusters what codebooks 0..m-1 left behind. Source: AQLM, arXiv:2401.06118 §3.2
// ("initialization"). With metric none it is the reference implementation's: plain L2, xtx plays no part. With diag or
// full, errors count in the metric of their input group and by the squared scale of their output group (GPTVQ,
// arXiv:2402.15319 §3.2; for AQLM OA-EM, arXiv:2604.08118).
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <vector>

#include "framework/base/error.h"
#include "framework/codebook/initialiser.h"
#include "framework/codebook/kmeans.h"
#include "framework/codebook/metric_kmeans.h"

namespace aqlm_exp::codebook {
namespace {

enum class Metric { kNone, kDiag, kFull };

struct Options {
  Metric metric = Metric::kNone;
  int64_t max_iter = 100;
  int64_t max_points_per_centroid = 0;
  int64_t reseed_every = 0;
};

class ResidualKMeans final : public Initialiser {
 public:
  explicit ResidualKMeans(Options options) : options_(options) {}

  quant::AdditiveCode initialise(const at::Tensor& groups, const Weighting& weighting, const quant::CodeSpec& spec,
                                 Rng& rng) const override {
    check_groups("residual_kmeans", groups, spec);
    if (options_.metric == Metric::kNone) return plain(groups, spec, rng);
    if (!weighting.metric.defined() || !weighting.weights.defined()) {
      throw DataError("[residual_kmeans] metric diag and full need xtx and scales, got none; try codebook.metric: none");
    }
    return in_metric(groups, weighting, spec, rng);
  }

 private:
  quant::AdditiveCode plain(const at::Tensor& groups, const quant::CodeSpec& spec, Rng& rng) const {
    const KMeansOptions options{options_.max_iter, options_.max_points_per_centroid, options_.reseed_every};
    at::Tensor residual = groups.reshape({-1, spec.group_size()}).clone();  // [num_groups, group_size]
    std::vector<at::Tensor> codes, codebooks;                               // one entry per codebook
    for (int64_t m = 0; m < spec.num_codebooks; ++m) {
      const KMeansResult fit = kmeans(residual, spec.codebook_size(), options, rng);
      residual.sub_(fit.centroids.index_select(0, fit.assignment.to(at::kLong)));
      codes.push_back(fit.assignment.view({groups.size(0), groups.size(1)}));
      codebooks.push_back(fit.centroids);
    }
    return {.codes = at::stack(codes, /*dim=*/2), .codebooks = at::stack(codebooks)};
  }

  quant::AdditiveCode in_metric(const at::Tensor& groups, const Weighting& weighting, const quant::CodeSpec& spec,
                                Rng& rng) const {
    const at::Tensor metric = options_.metric == Metric::kFull
                                  ? weighting.metric
                                  : at::diag_embed(weighting.metric.diagonal(0, 1, 2));
    const MetricKMeansOptions options{options_.max_iter, options_.max_points_per_centroid, options_.reseed_every};
    at::Tensor residual = groups.transpose(0, 1).clone(at::MemoryFormat::Contiguous);  // [G, O, group_size]
    std::vector<at::Tensor> codes, codebooks;
    for (int64_t m = 0; m < spec.num_codebooks; ++m) {
      const MetricKMeansResult fit =
          metric_kmeans(residual, metric, weighting.weights, spec.codebook_size(), options, rng);
      residual.sub_(fit.centroids.index_select(0, fit.assignment.flatten().to(at::kLong)).view(residual.sizes()));
      codes.push_back(fit.assignment.t());
      codebooks.push_back(fit.centroids);
    }
    return {.codes = at::stack(codes, /*dim=*/2).contiguous(), .codebooks = at::stack(codebooks)};
  }

  Options options_;
};

}  // namespace

void register_residual_kmeans(InitialiserRegistry& registry) {
  registry.add("residual_kmeans", "k-means on what the codebooks before left behind", [](config::Reader& in) {
    Options options;
    const std::string metric =
        in.text("metric", {.fallback = "none",
                           .choices = {"none", "diag", "full"},
                           .doc = "how errors count: all alike, by the diagonal of xtx, or by its diagonal blocks"});
    options.metric = metric == "full" ? Metric::kFull : metric == "diag" ? Metric::kDiag : Metric::kNone;
    options.max_iter =
        in.integer("max_iter", {.fallback = 100, .min = 1, .max = 100000, .doc = "Lloyd iterations a codebook"});
    options.max_points_per_centroid = in.integer(
        "max_points_per_centroid",
        {.fallback = 0, .min = 0, .max = 1000000, .doc = "fit on this many random groups per codeword; 0: on all"});
    options.reseed_every =
        in.integer("reseed_every", {.fallback = 0,
                                    .min = 0,
                                    .max = 100000,
                                    .unit = "iterations",
                                    .doc = "give codewords that no group uses to the groups of largest error; 0: never"});
    return std::make_unique<ResidualKMeans>(options);
  });
}

}  // namespace aqlm_exp::codebook
