#include "framework/encoder/block_ldl.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::encoder {
namespace {

/// R upper triangular with h = R Rᵀ, or an undefined tensor. A lower Cholesky factor of h read backwards.
at::Tensor upper_factor(const at::Tensor& h) {
  const auto [factor, info] = at::linalg_cholesky_ex(h.flip({0, 1}));
  if (info.item<int64_t>() != 0) return {};
  return factor.flip({0, 1});
}

}  // namespace

at::Tensor group_order(const at::Tensor& xtx, int64_t in_group_size, GroupOrder how) {
  const int64_t num_groups = xtx.size(0) / in_group_size;
  if (how == GroupOrder::kNatural) return at::arange(num_groups, at::kLong);
  const at::Tensor traces = xtx.diagonal().view({num_groups, in_group_size}).sum(1).to(at::kCPU);
  return std::get<1>(traces.sort(/*stable=*/true, 0, /*descending=*/how == GroupOrder::kDescending));
}

BlockLdl block_ldl(const at::Tensor& xtx, int64_t in_group_size, GroupOrder how, OnNotPositiveDefinite policy,
                   const std::string& name) {
  const int64_t in_features = xtx.size(0), num_groups = in_features / in_group_size;
  BlockLdl out;
  out.order = group_order(xtx, in_group_size, how);
  const at::Tensor order = out.order.to(xtx.device());
  out.columns = (order.unsqueeze(1) * in_group_size + at::arange(in_group_size, order.options())).flatten();
  at::Tensor h = xtx.to(at::kDouble).index_select(0, out.columns).index_select(1, out.columns);
  at::Tensor factor = upper_factor(h);
  if (!factor.defined() && policy == OnNotPositiveDefinite::kError) {
    throw NumericalError(
        fmt::format("[ldlq] {}: xtx is not positive definite (too few calibration tokens for {} inputs, or inputs that "
                    "are always zero); set objective.damping above 0, or encoder.on_not_positive_definite to "
                    "increase_damping",
                    name, in_features));
  }
  const double mean = h.diagonal().mean().item<double>();
  for (double damping = 1e-8; !factor.defined(); damping *= 10) {
    if (damping > 1.0 || !(mean > 0.0)) {
      throw NumericalError(
          fmt::format("[ldlq] {}: xtx stays without a Cholesky factor even with its mean diagonal {:g} added; are "
                      "there inputs at all?",
                      name, mean));
    }
    at::Tensor damped = h.clone();
    damped.diagonal().add_(damping * mean);
    factor = upper_factor(damped);
    out.extra_damping = damping;
  }
  const at::Tensor blocks = factor.view({num_groups, in_group_size, num_groups, in_group_size})
                                .diagonal(0, 0, 2)
                                .permute({2, 0, 1})
                                .contiguous();  // R_jj: [G, g, g]
  out.metric = at::bmm(blocks, blocks.transpose(1, 2)).to(at::kFloat);
  const at::Tensor columns = factor.view({in_features, num_groups, in_group_size}).transpose(0, 1);  // [G, in, g]
  const at::Tensor inverses = at::linalg_solve_triangular(
      blocks, at::eye(in_group_size, blocks.options()).expand_as(blocks), /*upper=*/true);
  out.feedback =
      at::bmm(columns, inverses).transpose(0, 1).reshape({in_features, in_features}).to(at::kFloat);
  return out;
}

}  // namespace aqlm_exp::encoder
