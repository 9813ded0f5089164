// Residual k-means: codebook m clusters what codebooks 0..m-1 left behind. Source: AQLM, arXiv:2401.06118 §3.2
// ("initialization"); plain L2 as in the reference implementation, xtx plays no part.
#include <ATen/ATen.h>

#include <vector>

#include "framework/codebook/initialiser.h"
#include "framework/codebook/kmeans.h"

namespace aqlm_exp::codebook {
namespace {

class ResidualKMeans final : public Initialiser {
 public:
  ResidualKMeans(int64_t max_iter, int64_t max_points_per_centroid)
      : max_iter_(max_iter), max_points_per_centroid_(max_points_per_centroid) {}

  quant::AdditiveCode initialise(const at::Tensor& groups, const at::Tensor&, const quant::CodeSpec& spec,
                                 Rng& rng) const override {
    check_groups("residual_kmeans", groups, spec);
    at::Tensor residual = groups.reshape({-1, spec.group_size()}).clone();  // [num_groups, group_size]
    std::vector<at::Tensor> codes, codebooks;                               // one entry per codebook
    for (int64_t m = 0; m < spec.num_codebooks; ++m) {
      const KMeansResult fit = kmeans(residual, spec.codebook_size(), max_iter_, max_points_per_centroid_, rng);
      residual.sub_(fit.centroids.index_select(0, fit.assignment.to(at::kLong)));
      codes.push_back(fit.assignment.view({groups.size(0), groups.size(1)}));
      codebooks.push_back(fit.centroids);
    }
    return {.codes = at::stack(codes, /*dim=*/2), .codebooks = at::stack(codebooks)};
  }

 private:
  int64_t max_iter_;                 // Lloyd iterations per codebook
  int64_t max_points_per_centroid_;  // 0: all points
};

}  // namespace

void register_residual_kmeans(InitialiserRegistry& registry) {
  registry.add("residual_kmeans", "k-means on what the codebooks before left behind", [](config::Reader& in) {
    const int64_t max_iter =
        in.integer("max_iter", {.fallback = 100, .min = 1, .max = 100000, .doc = "Lloyd iterations a codebook"});
    const int64_t max_points = in.integer(
        "max_points_per_centroid",
        {.fallback = 0, .min = 0, .max = 1000000, .doc = "fit on this many random groups per codeword; 0: on all"});
    return std::make_unique<ResidualKMeans>(max_iter, max_points);
  });
}

}  // namespace aqlm_exp::codebook
