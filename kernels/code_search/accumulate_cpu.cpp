#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/fixed_point.h"
#include "kernels/platform/thread_pool.h"

namespace aqlm_exp::code_search {
namespace {

using kernels::Status;

/// Threads own batches, or, with one batch only, rows of it; each adds into sums and counts of its own.
struct Layout {
  int64_t sums, counts, per_thread;  // int64
  explicit Layout(const NearestShape& s)
      : sums(s.codewords * s.group_size), counts(s.codewords), per_thread((sums + counts + 8) / 8 * 8) {}
};

}  // namespace

int64_t accumulate_cpu_workspace_bytes(const NearestShape& shape, int threads) noexcept {
  if (nearest_cpu_supports(shape) != Status::kOk) return 0;
  return 8 * Layout(shape).per_thread * std::max(threads, 1);
}

Status accumulate_cpu(const NearestShape& shape, const AccumulateCall& call, const CpuRun& run) noexcept {
  if (nearest_cpu_supports(shape) != Status::kOk) return Status::kUnsupportedShape;
  const Layout layout(shape);
  const int64_t g = shape.group_size, points = shape.batches * shape.rows;
  const int threads = std::max(run.threads, 1);
  auto* base = static_cast<int64_t*>(run.workspace);
  kernels::ThreadPool& pool = kernels::ThreadPool::shared();
  const auto weight = [&](int64_t r) { return call.weights ? call.weights[r] : 1.0F; };

  float largest = 0, largest_weight = 0;
  for (int64_t r = 0; r < shape.rows; ++r) largest_weight = std::max(largest_weight, std::abs(weight(r)));
  pool.run(threads, [&](int index, int count) {
    const auto [begin, end] = kernels::part_of(points, 1, index, count);
    float most = 0;
    for (int64_t i = begin; i < end; ++i)
      for (int64_t d = 0; d < g; ++d) most = std::max(most, std::abs(weight(i % shape.rows) * call.values[i * g + d]));
    std::memcpy(base + index * layout.per_thread, &most, sizeof most);
  });
  for (int t = 0; t < threads; ++t) {
    float most;
    std::memcpy(&most, base + t * layout.per_thread, sizeof most);
    largest = std::max(largest, most);
  }
  const double scale = fixed_point_scale(largest, points), count_scale = fixed_point_scale(largest_weight, shape.rows);

  const bool one = shape.batches == 1;
  pool.run(threads, [&](int index, int count) {
    int64_t *sums = base + index * layout.per_thread, *counts = sums + layout.sums;
    std::fill(sums, sums + layout.sums + layout.counts, int64_t{0});
    const auto [first, last] = kernels::part_of(one ? shape.rows : shape.batches, 1, index, count);
    for (int64_t b = one ? 0 : first; b < (one ? 1 : last); ++b) {
      for (int64_t r = one ? first : 0; r < (one ? last : shape.rows); ++r) {
        const int64_t point = b * shape.rows + r, k = call.index[point];
        const auto w = static_cast<double>(weight(r));
        counts[k] += std::llrint(w * count_scale);
        for (int64_t d = 0; d < g; ++d)
          sums[k * g + d] += std::llrint(w * static_cast<double>(call.values[point * g + d]) * scale);
      }
      if (one) continue;
      for (int64_t k = 0; k < shape.codewords; ++k) {
        call.counts[k * shape.batches + b] = static_cast<float>(static_cast<double>(counts[k]) / count_scale);
        counts[k] = 0;
      }
    }
  });
  const auto total = [&](int64_t at) {
    int64_t sum = 0;
    for (int t = 0; t < threads; ++t) sum += base[t * layout.per_thread + at];
    return static_cast<double>(sum);
  };
  for (int64_t i = 0; i < layout.sums; ++i) call.sums[i] = static_cast<float>(total(i) / scale);
  if (one)
    for (int64_t k = 0; k < shape.codewords; ++k)
      call.counts[k] = static_cast<float>(total(layout.sums + k) / count_scale);
  return Status::kOk;
}

}  // namespace aqlm_exp::code_search
