// Lloyd's k-means on many short vectors.
#pragma once

#include <ATen/core/Tensor.h>

#include "framework/base/rng.h"

namespace aqlm_exp::codebook {

struct KMeansResult {
  at::Tensor centroids;   ///< [num_clusters, dim] float32; surplus ones (fewer points than clusters) are zero
  at::Tensor assignment;  ///< [num_points] int32
  int64_t num_iterations = 0;
};

/// Index of the nearest centroid of each point: argmax over k of x·c_k − ‖c_k‖²/2, lowest index on ties.
/// Memory: at most about 64 MiB of scores at a time.
/// @param points [num_points, dim] float32
/// @param centroids [num_clusters, dim] float32
/// @return [num_points] int32
at::Tensor nearest_centroid(const at::Tensor& points, const at::Tensor& centroids);

struct KMeansOptions {
  int64_t max_iter = 100;
  int64_t max_points_per_centroid = 0;  ///< fit on a random subset of this many times num_clusters points; 0: on all
  int64_t reseed_every = 0;  ///< give empty clusters to the farthest points every so many iterations; 0: never
};

/// The reference implementation's k-means: start at distinct random points; mean of members, an empty cluster keeps its
/// centroid (unless it is re-seeded, which the last three iterations never do); every 10th iteration stop if no centroid
/// moved by more than 1e-6 relative + 1e-8.
/// With no more points than clusters every point becomes its own centroid (error zero).
KMeansResult kmeans(const at::Tensor& points, int64_t num_clusters, const KMeansOptions& options, Rng& rng);

}  // namespace aqlm_exp::codebook
