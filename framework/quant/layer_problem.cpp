#include "framework/quant/layer_problem.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::quant {
namespace {

double weighted_norm(const at::Tensor& rows, const at::Tensor& xtx) {
  const at::Tensor d = rows.to(at::kDouble);  // [out, in]
  return at::matmul(d, xtx.to(at::kDouble)).mul_(d).sum().item<double>();
}

double ratio(double error, double norm) { return error == 0.0 && norm == 0.0 ? 0.0 : error / norm; }

}  // namespace

double output_error(const at::Tensor& approximation, const at::Tensor& weight, const at::Tensor& xtx) {
  return weighted_norm(approximation.to(at::kDouble) - weight.to(at::kDouble), xtx);
}

double relative_output_error(const at::Tensor& approximation, const at::Tensor& weight, const at::Tensor& xtx) {
  return ratio(output_error(approximation, weight, xtx), weighted_norm(weight, xtx));
}

double relative_weight_error(const at::Tensor& approximation, const at::Tensor& weight) {
  const at::Tensor w = weight.to(at::kDouble);
  return ratio((approximation.to(at::kDouble) - w).square().sum().item<double>(), w.square().sum().item<double>());
}

void check_problem(const LayerProblem& problem) {
  const at::Tensor& w = problem.weight;
  const at::Tensor& h = problem.xtx;
  if (w.dim() != 2 || h.dim() != 2 || h.size(0) != w.size(1) || h.size(1) != w.size(1)) {
    throw DataError(fmt::format("[{}] weight has {} dimensions, xtx {}: need [out, in] and [in, in] with one in",
                                problem.name, w.dim(), h.dim()));
  }
  if (!at::isfinite(w).all().item<bool>()) {
    throw DataError(fmt::format("[{}] weight holds NaN or infinite values; the checkpoint is damaged", problem.name));
  }
  if (!at::isfinite(h).all().item<bool>()) {
    throw DataError(
        fmt::format("[{}] xtx holds NaN or infinite values; the calibration forward pass overflowed", problem.name));
  }
}

}  // namespace aqlm_exp::quant
