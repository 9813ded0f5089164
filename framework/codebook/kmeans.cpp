#include "framework/codebook/kmeans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "framework/quant/code_sums.h"

namespace aqlm_exp::codebook {
namespace {

at::Tensor random_subset(const at::Tensor& points, int64_t count, Rng& rng) {
  const int64_t num_points = points.size(0);
  std::vector<int64_t> order = rng.permutation(num_points);
  order.resize(static_cast<size_t>(count));
  const at::Tensor index = at::tensor(order, at::kLong).to(points.device());
  return points.index_select(0, index);
}

/// Row k: for the r-th empty cluster the point that lies r-th farthest from its centroid; other rows mean nothing.
at::Tensor farthest_points(const at::Tensor& points, const at::Tensor& centroids, const at::Tensor& members,
                           const at::Tensor& counts) {
  const at::Tensor distances = (points - centroids.index_select(0, members)).square().sum(1);
  const at::Tensor farthest = std::get<1>(distances.topk(std::min(points.size(0), centroids.size(0))));
  const at::Tensor rank = counts.eq(0).to(at::kLong).cumsum(0).sub_(1).clamp_(0, farthest.size(0) - 1);
  return points.index_select(0, farthest.index_select(0, rank));
}

}  // namespace

at::Tensor nearest_centroid(const at::Tensor& points, const at::Tensor& centroids) {
  constexpr int64_t kScoresAtATime = int64_t{1} << 24;                 // 64 MiB of float32
  const at::Tensor half_norms = centroids.square().sum(1).mul_(-0.5);  // [num_clusters]
  const at::Tensor transposed = centroids.t();
  const int64_t block = std::max<int64_t>(1, kScoresAtATime / centroids.size(0));
  std::vector<at::Tensor> parts;
  for (int64_t start = 0; start < points.size(0); start += block) {
    const at::Tensor rows = points.slice(0, start, std::min(start + block, points.size(0)));
    parts.push_back(at::addmm(half_norms, rows, transposed).argmax(1).to(at::kInt));
  }
  return parts.empty() ? at::empty({0}, points.options().dtype(at::kInt)) : at::cat(parts);
}

KMeansResult kmeans(const at::Tensor& points, int64_t num_clusters, const KMeansOptions& options, Rng& rng) {
  const int64_t num_points = points.size(0), wanted = options.max_points_per_centroid * num_clusters;
  if (num_points <= num_clusters) {
    at::Tensor centroids = at::zeros({num_clusters, points.size(1)}, points.options());
    centroids.slice(0, 0, num_points).copy_(points);
    return {.centroids = centroids, .assignment = at::arange(num_points, points.options().dtype(at::kInt))};
  }
  at::Tensor training = points;
  if (wanted > 0 && wanted < num_points) training = random_subset(points, wanted, rng);
  at::Tensor centroids = random_subset(training, num_clusters, rng);  // [num_clusters, dim]
  const at::Tensor ones = at::ones({training.size(0), 1}, points.options());
  int64_t iteration = 0;
  for (; iteration < options.max_iter; ++iteration) {
    const at::Tensor members = nearest_centroid(training, centroids);
    const at::Tensor sums = quant::sum_rows_by_code(training, members, num_clusters);
    const at::Tensor counts = quant::sum_rows_by_code(ones, members, num_clusters);  // [num_clusters, 1]
    const bool reseed = options.reseed_every > 0 && iteration % options.reseed_every == options.reseed_every - 1 &&
                        iteration < options.max_iter - 3;
    const at::Tensor fallback = reseed ? farthest_points(training, centroids, members, counts.flatten()) : centroids;
    const at::Tensor updated = at::where(counts > 0, sums / counts.clamp_min(1), fallback);
    const bool settled = iteration % 10 == 0 && at::allclose(updated, centroids, /*rtol=*/1e-6, /*atol=*/1e-8);
    centroids = updated;
    if (settled) break;
  }
  return {.centroids = centroids, .assignment = nearest_centroid(points, centroids), .num_iterations = iteration};
}

}  // namespace aqlm_exp::codebook
