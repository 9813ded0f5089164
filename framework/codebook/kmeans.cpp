#include "framework/codebook/kmeans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace aqlm_exp::codebook {
namespace {

at::Tensor random_subset(const at::Tensor& points, int64_t count, Rng& rng) {
  const int64_t num_points = points.size(0);
  std::vector<int64_t> order = rng.permutation(num_points);
  order.resize(static_cast<size_t>(count));
  const at::Tensor index = at::tensor(order, at::kLong).to(points.device());
  return points.index_select(0, index);
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

KMeansResult kmeans(const at::Tensor& points, int64_t num_clusters, int64_t max_iter, int64_t max_points_per_centroid,
                    Rng& rng) {
  const int64_t num_points = points.size(0);
  if (num_points <= num_clusters) {
    at::Tensor centroids = at::zeros({num_clusters, points.size(1)}, points.options());
    centroids.slice(0, 0, num_points).copy_(points);
    return {.centroids = centroids, .assignment = at::arange(num_points, points.options().dtype(at::kInt))};
  }
  at::Tensor training = points;
  if (max_points_per_centroid > 0 && max_points_per_centroid * num_clusters < num_points) {
    training = random_subset(points, max_points_per_centroid * num_clusters, rng);
  }
  at::Tensor centroids = random_subset(training, num_clusters, rng);  // [num_clusters, dim]
  const at::Tensor ones = at::ones({training.size(0)}, points.options());
  int64_t iteration = 0;
  for (; iteration < max_iter; ++iteration) {
    const at::Tensor members = nearest_centroid(training, centroids).to(at::kLong);
    const at::Tensor sums = at::zeros_like(centroids).index_add_(0, members, training);
    const at::Tensor counts = at::zeros({num_clusters}, points.options()).index_add_(0, members, ones).unsqueeze(1);
    const at::Tensor updated = at::where(counts > 0, sums / counts.clamp_min(1), centroids);
    const bool settled = iteration % 10 == 0 && at::allclose(updated, centroids, /*rtol=*/1e-6, /*atol=*/1e-8);
    centroids = updated;
    if (settled) break;
  }
  return {.centroids = centroids, .assignment = nearest_centroid(points, centroids), .num_iterations = iteration};
}

}  // namespace aqlm_exp::codebook
