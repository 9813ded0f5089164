#include "framework/scalar/gptq.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::scalar {
namespace {

constexpr double kDampStep = 0.01;  // GPTQModel's damp_auto_increment

/// Upper Cholesky factor of (hessian + damp * mean(diag) I)^-1 in float64, or nothing if a factor does not exist.
std::optional<at::Tensor> inverse_factor(const at::Tensor& hessian, double damp_percent) {
  at::Tensor damped = hessian.clone();
  damped.diagonal().add_(damp_percent * hessian.diagonal().mean());
  const auto [lower, info] = at::linalg_cholesky_ex(damped);
  if (info.item<int>() != 0) return std::nullopt;
  const auto [upper, upper_info] = at::linalg_cholesky_ex(at::cholesky_inverse(lower), /*upper=*/true);
  if (upper_info.item<int>() != 0 || !at::isfinite(upper).all().item<bool>()) return std::nullopt;
  return upper;
}

at::Tensor inverse_factor_or_throw(const at::Tensor& hessian, const GptqOptions& options, double& damp_percent_used) {
  damp_percent_used = options.damp_percent;
  std::optional<at::Tensor> factor = inverse_factor(hessian, damp_percent_used);
  if (options.on_not_positive_definite == OnNotPositiveDefinite::kIncreaseDamping) {
    while (!factor && damp_percent_used + kDampStep < 1) {
      damp_percent_used += kDampStep;
      factor = inverse_factor(hessian, damp_percent_used);
    }
  }
  if (!factor) {
    throw NumericalError(fmt::format(
        "[gptq] Hessian [{}, {}] with method.damp_percent {:g} is not positive definite; try a larger damp_percent "
        "(0.05, 0.1), more calibration tokens, or method.on_not_positive_definite: increase_damping",
        hessian.size(0), hessian.size(1), damp_percent_used));
  }
  return *factor;
}

void check(const at::Tensor& weight, const at::Tensor& hessian, const GptqOptions& options) {
  check_weight("gptq", weight);
  check_format("gptq", options.nbits, options.group_size, 2);
  if (hessian.dim() != 2 || hessian.size(0) != weight.size(1) || hessian.size(1) != weight.size(1)) {
    throw DataError(
        fmt::format("[gptq] weight has {} input columns, Hessian has {} dimensions and {} elements; need "
                    "[in_features, in_features]",
                    weight.size(1), hessian.dim(), hessian.numel()));
  }
  if (!at::isfinite(hessian).all().item<bool>()) {
    throw NumericalError(
        "[gptq] Hessian: got NaN or infinity, need finite numbers; the layer's calibration inputs overflow (check the "
        "model's dtype and the blocks before this one)");
  }
  if (options.static_groups && options.group_size == -1) {
    throw ConfigError("[gptq] method.static_groups: got true with quant.group_size -1, need a group size");
  }
  if (options.block_size < 1) {
    throw ConfigError(fmt::format("[gptq] method.block_size: got {}, need >= 1", options.block_size));
  }
  if (options.damp_percent < 0) {
    throw ConfigError(fmt::format("[gptq] method.damp_percent: got {:g}, need >= 0", options.damp_percent));
  }
}

}  // namespace

at::Tensor hessian_from_xtx(const at::Tensor& xtx, int64_t num_tokens, int64_t num_sequences) {
  return xtx * (2.0 * static_cast<double>(num_tokens) / static_cast<double>(num_sequences));
}

GptqResult gptq(const at::Tensor& weight, const at::Tensor& hessian, const GptqOptions& options) {
  check(weight, hessian, options);
  const int64_t out = weight.size(0), in = weight.size(1);
  const bool per_row = options.group_size == -1;
  const int64_t group_size = per_row ? in : options.group_size;
  const int64_t num_groups = num_row_groups(in, group_size);
  const GridOptions grid_options{
      .kind = GridKind::kGptq, .nbits = options.nbits, .symmetric = options.symmetric, .mse = options.mse};
  GptqResult result;

  // Columns are rows of wt: each step reads and writes contiguous memory.
  at::Tensor wt = weight.detach().to(at::kFloat).t().contiguous().clone();  // [in, out]
  at::Tensor scales = at::zeros({num_groups, out}, wt.options());           // [num_groups, out]
  at::Tensor zeros = at::zeros_like(scales);
  const auto fit_group = [&](int64_t group, const at::Tensor& columns) {  // columns [size of the group, out]
    const Grid grid = fit_grid(columns.t(), grid_options);
    scales.select(0, group).copy_(grid.scale);
    zeros.select(0, group).copy_(grid.zero);
  };
  if (per_row) fit_group(0, wt);  // before dead columns are zeroed, as in the reference

  at::Tensor h = hessian.detach().to(wt.device(), at::kDouble).clone();
  const at::Tensor dead = h.diagonal() == 0;  // [in]
  result.num_dead_columns = dead.sum().item<int64_t>();
  h.diagonal().masked_fill_(dead, 1);
  wt.masked_fill_(dead.unsqueeze(1), 0);

  if (options.static_groups) {
    for (int64_t g = 0; g < num_groups; ++g)
      fit_group(g, wt.slice(0, g * group_size, std::min(in, (g + 1) * group_size)));
  }

  at::Tensor order;  // position → original column
  if (options.desc_act) {
    order = at::argsort(h.diagonal(), /*stable=*/true, /*dim=*/0, /*descending=*/true);
    wt = wt.index_select(0, order);
    h = h.index_select(0, order).index_select(1, order);
  }
  const at::Tensor factor =
      inverse_factor_or_throw(h, options, result.damp_percent_used).to(at::kFloat).contiguous();  // [in, in] upper
  const at::Tensor diagonal = factor.diagonal().to(at::kCPU).contiguous();
  const auto* diagonal_data = diagonal.data_ptr<float>();

  // The group of the column at each position of the order in which columns are rounded.
  at::Tensor group_at = at::arange(in, at::kLong).floor_divide(group_size);
  if (options.desc_act && options.static_groups) group_at = order.to(at::kCPU).floor_divide(group_size);
  const auto* group_data = group_at.data_ptr<int64_t>();

  at::Tensor codes = at::empty({in, out}, wt.options().dtype(at::kByte));
  double loss = 0;
  for (int64_t begin = 0; begin < in; begin += options.block_size) {
    const int64_t end = std::min(begin + options.block_size, in);
    at::Tensor block = wt.slice(0, begin, end).clone();  // [count, out]
    at::Tensor errors = at::empty_like(block);
    for (int64_t i = 0; i < end - begin; ++i) {
      const int64_t position = begin + i;
      if (!per_row && !options.static_groups && position % group_size == 0) {
        // Fitted on wt, which lacks the corrections made inside the running block: the reference does the same.
        fit_group(position / group_size, wt.slice(0, position, std::min(in, position + group_size)));
      }
      const at::Tensor scale = scales.select(0, group_data[position]), zero = zeros.select(0, group_data[position]);
      const at::Tensor column = block.select(0, i);
      const at::Tensor code = grid_codes(column, scale, zero, options.nbits);
      codes.select(0, position).copy_(code);
      const at::Tensor error = column.sub(scale * (code - zero)).div_(diagonal_data[position]);
      const at::Tensor row = factor.select(0, position).slice(0, position, end).unsqueeze(1);
      block.slice(0, i).sub_(row * error.unsqueeze(0));
      errors.select(0, i).copy_(error);
    }
    loss += 0.5 * errors.square().sum(at::kDouble).item<double>();
    if (end < in) {
      wt.slice(0, end).sub_(factor.slice(0, begin, end).slice(1, end).t().matmul(errors));
    }
  }
  result.loss = loss;

  if (options.desc_act) {
    const at::Tensor position_of = at::argsort(order);  // original column → position
    codes = codes.index_select(0, position_of);
    group_at = group_at.to(position_of.device()).index_select(0, position_of);
  }
  result.code = make_scalar_code("gptq", codes.t(), scales.t(), zeros.t(), options.nbits, group_size, options.symmetric,
                                 /*integer_zero_points=*/true);
  // Only groups of re-ordered columns need an index; everything else keeps plain storage.
  if (options.desc_act && !options.static_groups && num_groups > 1) result.code.g_idx = group_at.to(at::kInt);
  return result;
}

}  // namespace aqlm_exp::scalar
