#include "framework/codebook/metric_kmeans.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "framework/quant/code_sums.h"
#include "framework/search/code_search.h"

namespace aqlm_exp::codebook {
namespace {

/// Points with what does not change from iteration to iteration.
struct Points {
  at::Tensor values;   // [G, O, og * ig]
  at::Tensor images;   // [G, O, og * ig]: values times the metric of their group
  at::Tensor metric;   // [G, ig, ig]
  at::Tensor weights;  // [O]
  int64_t og = 1, ig = 1;

  int64_t num_groups() const { return values.size(0); }
  int64_t num_rows() const { return values.size(1); }
};

/// [G, R, og * ig] times [G, ig, ig], row by row.
at::Tensor times_metric(const at::Tensor& values, const at::Tensor& metric) {
  const int64_t ig = metric.size(1), og = values.size(2) / ig;
  return at::bmm(values.reshape({values.size(0), values.size(1) * og, ig}), metric).view(values.sizes());
}

Points make_points(const at::Tensor& values, const at::Tensor& metric, const at::Tensor& weights) {
  const int64_t ig = metric.size(1);
  return {values.contiguous(), times_metric(values.contiguous(), metric), metric, weights, values.size(2) / ig, ig};
}

struct Assignment {
  at::Tensor index;   // [G, O] int64
  at::Tensor scores;  // [G, O]: c M cᵀ − 2 c M vᵀ
};

Assignment assign(const Points& points, const at::Tensor& centroids) {
  if (points.og == 1 && search::nearest_supported(points.images, centroids)) {
    search::Nearest found = search::nearest(points.images, centroids, /*bias=*/{}, points.metric);
    return {found.index.to(at::kLong), found.score};
  }
  const int64_t num_clusters = centroids.size(0), num_rows = points.num_rows();
  const int64_t budget = centroids.is_cpu() ? int64_t{1} << 21 : int64_t{1} << 28;  // scores at a time
  const int64_t groups_at_a_time = std::max<int64_t>(1, budget / (num_clusters * num_rows));
  const int64_t rows_at_a_time = std::clamp<int64_t>(budget / num_clusters, 1, num_rows);
  // c M cᵀ for all groups at once: features c cᵀ against the metric.
  const at::Tensor split = centroids.view({num_clusters, points.og, points.ig});
  const at::Tensor features = at::bmm(split.transpose(1, 2), split).flatten(1);            // [K, ig * ig]
  const at::Tensor energies = at::matmul(points.metric.flatten(1), features.t());           // [G, K]
  std::vector<at::Tensor> index, scores;
  for (int64_t j = 0; j < points.num_groups(); j += groups_at_a_time) {
    const int64_t last = std::min(points.num_groups(), j + groups_at_a_time);
    std::vector<at::Tensor> row_index, row_scores;
    for (int64_t o = 0; o < num_rows; o += rows_at_a_time) {
      const at::Tensor images = points.images.slice(0, j, last).slice(1, o, std::min(num_rows, o + rows_at_a_time));
      auto [least, which] =
          at::matmul(images, centroids.t()).mul_(-2).add_(energies.slice(0, j, last).unsqueeze(1)).min(2);
      row_index.push_back(which);
      row_scores.push_back(least);
    }
    index.push_back(at::cat(row_index, 1));
    scores.push_back(at::cat(row_scores, 1));
  }
  return {at::cat(index), at::cat(scores)};
}

at::Tensor pick(const at::Tensor& points, const std::vector<int64_t>& which) {
  return points.flatten(0, 1).index_select(0, at::tensor(which, at::kLong).to(points.device()));
}

std::vector<int64_t> draw(int64_t from, int64_t count, Rng& rng) {
  std::vector<int64_t> order = rng.permutation(from);
  order.resize(static_cast<size_t>(count));
  return order;
}

class Lloyd {
 public:
  Lloyd(const Points& points, int64_t num_clusters) : points_(points), num_clusters_(num_clusters) {
    const at::Tensor per_point = points.weights.unsqueeze(0).expand({points.num_groups(), -1});  // [G, O]
    weights_ = per_point.reshape({-1, 1});
    weighted_images_ = (points.images * points.weights.view({1, -1, 1})).flatten(0, 1);
    energies_ = (points.images * points.values).sum(2);  // [G, O]: v M vᵀ
    groups_ = at::arange(points.num_groups(), weights_.options().dtype(at::kLong)).unsqueeze(1);
  }

  at::Tensor update(const at::Tensor& centroids, bool reseed) const {
    const Assignment found = assign(points_, centroids);
    const int64_t num_groups = points_.num_groups();
    const at::Tensor sums = quant::sum_rows_by_code(weighted_images_, found.index.flatten(), num_clusters_);
    const at::Tensor counts = quant::sum_rows_by_code(weights_, (found.index * num_groups + groups_).flatten(),
                                                      num_clusters_ * num_groups)
                                  .view({num_clusters_, num_groups});
    at::Tensor blocks = at::matmul(counts, points_.metric.flatten(1)).view({num_clusters_, points_.ig, points_.ig});
    const at::Tensor diagonal = blocks.diagonal(0, 1, 2).mean(1);  // [K]
    const at::Tensor empty = diagonal.le(0);                       // no members, or members without any energy
    const at::Tensor ridge = (1e-6 * diagonal + empty.to(at::kFloat)).view({-1, 1, 1});
    blocks = blocks + ridge * at::eye(points_.ig, blocks.options());
    const at::Tensor solved =
        std::get<0>(at::linalg_solve_ex(blocks, sums.view({num_clusters_, points_.og, points_.ig}).transpose(1, 2)))
            .transpose(1, 2)
            .flatten(1);
    at::Tensor replacement = centroids;
    if (reseed) {
      const at::Tensor errors = (found.scores + energies_).mul_(points_.weights).flatten();
      const at::Tensor worst = std::get<1>(errors.topk(std::min(num_clusters_, errors.size(0))));
      const at::Tensor rank = empty.to(at::kLong).cumsum(0).sub_(1).clamp_(0, worst.size(0) - 1);
      replacement = points_.values.flatten(0, 1).index_select(0, worst.index_select(0, rank));
    }
    return at::where(empty.unsqueeze(1), replacement, solved);
  }

 private:
  const Points& points_;
  int64_t num_clusters_;
  at::Tensor weights_;          // [G * O, 1]
  at::Tensor weighted_images_;  // [G * O, og * ig]
  at::Tensor energies_;         // [G, O]
  at::Tensor groups_;           // [G, 1] int64
};

}  // namespace

MetricKMeansResult metric_kmeans(const at::Tensor& points, const at::Tensor& metric, const at::Tensor& weights,
                                 int64_t num_clusters, const MetricKMeansOptions& options, Rng& rng) {
  const int64_t num_groups = points.size(0), num_rows = points.size(1), num_points = num_groups * num_rows;
  if (num_points <= num_clusters) {
    at::Tensor centroids = at::zeros({num_clusters, points.size(2)}, points.options());
    centroids.slice(0, 0, num_points).copy_(points.flatten(0, 1));
    return {centroids, at::arange(num_points, points.options().dtype(at::kInt)).view({num_groups, num_rows})};
  }
  const Points all = make_points(points, metric, weights);
  Points training = all;
  const int64_t wanted = options.max_points_per_centroid * num_clusters;
  if (wanted > 0 && wanted < num_points) {
    const int64_t rows = std::min(num_rows, (wanted + num_groups - 1) / num_groups);
    const at::Tensor subset = at::tensor(draw(num_rows, rows, rng), at::kLong).to(points.device());
    training = make_points(points.index_select(1, subset), metric, weights.index_select(0, subset));
  }
  const int64_t num_training = training.num_groups() * training.num_rows();
  at::Tensor centroids = pick(training.values, draw(num_training, std::min(num_clusters, num_training), rng));
  if (centroids.size(0) < num_clusters) {  // a subset with fewer points than clusters
    centroids = at::cat({centroids, at::zeros({num_clusters - centroids.size(0), points.size(2)}, points.options())});
  }
  const Lloyd lloyd(training, num_clusters);
  for (int64_t i = 0; i < options.max_iter; ++i) {
    const bool reseed = options.reseed_every > 0 && i % options.reseed_every == options.reseed_every - 1 &&
                        i < options.max_iter - 3;
    centroids = lloyd.update(centroids, reseed);
  }
  return {centroids, assign(all, centroids).index.to(at::kInt)};
}

}  // namespace aqlm_exp::codebook
