#include "framework/codebook/initialiser.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::codebook {

void check_groups(const char* where, const at::Tensor& groups, const quant::CodeSpec& spec) {
  if (groups.dim() != 3 || groups.size(2) != spec.group_size()) {
    throw DataError(fmt::format("[{}] groups have {} weights, need group_size {}", where,
                                groups.dim() == 3 ? groups.size(2) : -1, spec.group_size()));
  }
  if (!at::isfinite(groups).all().item<bool>()) {
    throw DataError(fmt::format("[{}] groups hold NaN or infinite values; the weight is damaged", where));
  }
}

ScaledGroups divide_out_scales(const at::Tensor& weight, const quant::CodeSpec& spec) {
  const at::Tensor groups = quant::group_weight(weight.to(at::kFloat), spec);
  const at::Tensor scales = groups.flatten(1).norm(2, 1).add_(1e-9);  // [num_out_groups]
  return {.groups = groups / scales.view({-1, 1, 1}), .scales = scales.view({-1, 1, 1, 1}).clone()};
}

at::Tensor group_metric(const at::Tensor& xtx, int64_t in_group_size) {
  const int64_t num_in_groups = xtx.size(0) / in_group_size;
  return xtx.view({num_in_groups, in_group_size, num_in_groups, in_group_size})
      .diagonal(0, 0, 2)  // [in_group_size, in_group_size, num_in_groups]
      .permute({2, 0, 1})
      .to(at::kFloat)
      .contiguous();
}

}  // namespace aqlm_exp::codebook
