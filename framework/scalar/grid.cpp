#include "framework/scalar/grid.h"

#include <ATen/ATen.h>

#include <limits>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::scalar {
namespace {

// Constants of quant.py's mse search; nobody varies them.
constexpr double kMseNorm = 2.4;
constexpr int kMseSteps = 80;  // maxshrink 0.8 of grid 100
constexpr double kMseGrid = 100.0;
constexpr double kAwqMinRange = 1e-5;

double max_code(int64_t nbits) { return static_cast<double>((int64_t{1} << nbits) - 1); }

Grid fit_gptq(const at::Tensor& groups, const GridOptions& options) {
  const double top = max_code(options.nbits);
  at::Tensor lo = groups.amin(1).clamp_max(0);  // [rows]
  at::Tensor hi = groups.amax(1).clamp_min(0);
  if (options.symmetric) {
    hi = at::maximum(lo.abs(), hi);
    lo = at::where(lo < 0, -hi, lo);
  }
  const at::Tensor empty = (lo == 0).logical_and(hi == 0);
  lo = lo.masked_fill(empty, -1);
  hi = hi.masked_fill(empty, 1);
  Grid grid;
  grid.scale = (hi - lo) / top;
  grid.zero = options.symmetric ? at::full_like(grid.scale, (top + 1) / 2) : at::round(-lo / grid.scale);
  if (!options.mse) return grid;

  at::Tensor best = at::full_like(grid.scale, std::numeric_limits<float>::infinity());
  for (int step = 0; step < kMseSteps; ++step) {
    const double p = 1 - step / kMseGrid;
    const at::Tensor scale = (hi * p - lo * p) / top;
    const at::Tensor zero = options.symmetric ? grid.zero : at::round(-(lo * p) / scale);
    const at::Tensor codes = grid_codes(groups, scale.unsqueeze(1), zero.unsqueeze(1), options.nbits);
    const at::Tensor error =
        (scale.unsqueeze(1) * (codes - zero.unsqueeze(1))).sub_(groups).abs_().pow_(kMseNorm).sum(1);
    const at::Tensor better = error < best;
    best = at::where(better, error, best);
    grid.scale = at::where(better, scale, grid.scale);
    grid.zero = at::where(better, zero, grid.zero);
  }
  return grid;
}

Grid fit_awq(const at::Tensor& groups, const GridOptions& options) {
  const double top = max_code(options.nbits);
  Grid grid;
  if (options.symmetric) {
    // Codes are stored shifted by 2^(nbits-1): -2^(nbits-1) .. 2^(nbits-1) - 1 becomes 0 .. 2^nbits - 1.
    const double half = static_cast<double>(int64_t{1} << (options.nbits - 1));
    grid.scale = groups.abs().amax(1).clamp_min(kAwqMinRange) / (half - 1);
    grid.zero = at::full_like(grid.scale, half);
  } else {
    const at::Tensor lo = groups.amin(1), hi = groups.amax(1);
    grid.scale = (hi - lo).clamp_min(kAwqMinRange) / top;
    grid.zero = at::round(lo / grid.scale).neg().clamp(0, top);
  }
  return grid;
}

void require_whole_groups(const at::Tensor& weight, int64_t group_size) {
  if (group_size == -1 || weight.size(1) % group_size == 0) return;
  throw DataError(
      fmt::format("[awq grid] weight [{}, {}]: in_features is not a multiple of quant.group_size {}; take one "
                  "that divides it, or -1 for one group per row",
                  weight.size(0), weight.size(1), group_size));
}

}  // namespace

Grid fit_grid(const at::Tensor& groups, const GridOptions& options) {
  return options.kind == GridKind::kGptq ? fit_gptq(groups, options) : fit_awq(groups, options);
}

at::Tensor grid_codes(const at::Tensor& weight, const at::Tensor& scale, const at::Tensor& zero, int64_t nbits) {
  return weight.div(scale).round_().add_(zero).clamp_(0, max_code(nbits));
}

Grid fit_row_groups(const at::Tensor& weight, int64_t group_size, const GridOptions& options) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  const int64_t size = group_size == -1 ? columns : group_size;
  const int64_t whole = columns / size;  // groups of full size; at most one shorter one follows
  std::vector<at::Tensor> scales, zeros;
  const auto fit = [&](const at::Tensor& groups) {  // [rows, number of groups, columns of a group]
    const Grid grid = fit_grid(groups.reshape({rows * groups.size(1), groups.size(2)}), options);
    scales.push_back(grid.scale.reshape({rows, groups.size(1)}));
    zeros.push_back(grid.zero.reshape({rows, groups.size(1)}));
  };
  if (whole > 0) fit(weight.slice(1, 0, whole * size).reshape({rows, whole, size}));
  if (whole * size < columns) fit(weight.slice(1, whole * size).unsqueeze(1));
  return {at::cat(scales, 1), at::cat(zeros, 1)};
}

at::Tensor pseudo_quantise(const at::Tensor& weight, int64_t group_size, const GridOptions& options) {
  require_whole_groups(weight, group_size);
  const at::Tensor groups = weight.reshape({-1, group_size == -1 ? weight.size(1) : group_size});
  const Grid grid = fit_grid(groups, options);
  const at::Tensor scale = grid.scale.unsqueeze(1), zero = grid.zero.unsqueeze(1);
  return grid_codes(groups, scale, zero, options.nbits).sub_(zero).mul_(scale).reshape(weight.sizes());
}

ScalarCode rtn(const at::Tensor& weight, int64_t group_size, const GridOptions& options) {
  check_weight("rtn", weight);
  check_format("rtn", options.nbits, group_size, 2);
  if (options.kind == GridKind::kAwq) {
    if (options.mse) throw ConfigError("[rtn] method.mse: the awq grid has no range search, need grid: gptq");
    require_whole_groups(weight, group_size);
  }
  const at::Tensor w = weight.detach().to(at::kFloat);
  const int64_t size = group_size == -1 ? w.size(1) : group_size;
  const Grid grid = fit_row_groups(w, size, options);
  const at::Tensor group_of_column = at::arange(w.size(1), w.options().dtype(at::kLong)).floor_divide(size);
  const at::Tensor codes = grid_codes(w, grid.scale.index_select(1, group_of_column),
                                      grid.zero.index_select(1, group_of_column), options.nbits);
  return make_scalar_code("rtn", codes, grid.scale, grid.zero, options.nbits, size, options.symmetric,
                          /*integer_zero_points=*/true);
}

}  // namespace aqlm_exp::scalar
