// Lloyd's k-means where each point has a metric of its input group and a weight of its output group.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/rng.h"

namespace aqlm_exp::codebook {

struct MetricKMeansOptions {
  int64_t max_iter = 20;
  int64_t max_points_per_centroid = 0;  ///< fit on the groups of a random subset of output groups; 0: on all
  int64_t reseed_every = 4;  ///< give unused centroids to the worst points every so many iterations; 0: never
};

struct MetricKMeansResult {
  at::Tensor centroids;   ///< [num_clusters, og * ig] float32
  at::Tensor assignment;  ///< [G, O] int32
};

/// Minimises Σ over j, o of w_o (v − c) M_j (v − c)ᵀ, v = points[j, o], c the centroid assigned to it. Assignment takes
/// the lowest index on ties; the update solves (Σ w M_j) c = Σ w M_j v for each cluster, with 1e-6 of its mean diagonal
/// added; an empty cluster keeps its centroid unless it is re-seeded, which the last three iterations never do.
/// With no more points than clusters every point becomes its own centroid (error zero), the surplus ones are zero.
/// Source: the EM step of GPTVQ, arXiv:2402.15319 §3.2, with shared codebooks.
/// @param points [G, O, og * ig] float32
/// @param metric [G, ig, ig] float32, positive semi-definite; applies to each of the og rows of a point
/// @param weights [O] float32, positive
MetricKMeansResult metric_kmeans(const at::Tensor& points, const at::Tensor& metric, const at::Tensor& weights,
                                 int64_t num_clusters, const MetricKMeansOptions& options, Rng& rng);

}  // namespace aqlm_exp::codebook
