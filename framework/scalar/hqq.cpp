#include "framework/scalar/hqq.h"

#include <ATen/ATen.h>

#include <limits>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::scalar {
namespace {

constexpr double kMinRange = 1e-4;        // narrower groups get inverse scale 1
constexpr double kMaxInverseScale = 2e4;  // keeps 1 / inverse scale away from float16's subnormals
constexpr int64_t kSlowIterations = 100;

/// sign(r) max(|r| - |r|^(p-1) / beta, 0). At r = 0 the power is infinite and the maximum rescues it (p < 1); p = 1
/// too.
at::Tensor shrink(const at::Tensor& r, double beta, double p) {
  const at::Tensor size = r.abs();
  return size.sub(size.pow(p - 1).mul_(1.0 / beta)).clamp_min_(0).mul_(r.sign());
}

void check(const at::Tensor& weight, const HqqOptions& options) {
  check_weight("hqq", weight);
  check_format("hqq", options.nbits, options.group_size, 1);
  if (options.nbits == 7) throw ConfigError("[hqq] quant.nbits: got 7, need 1, 2, 3, 4, 5, 6 or 8");
  if (options.axis != 0 && options.axis != 1) {
    throw ConfigError(fmt::format("[hqq] method.axis: got {}, need 0 or 1", options.axis));
  }
  if (options.lp_norm <= 0 || options.lp_norm > 1 || options.beta <= 0 || options.kappa <= 0 ||
      options.iterations < 1) {
    throw ConfigError(
        fmt::format("[hqq] got lp_norm {:g}, beta {:g}, kappa {:g}, iterations {}; need 0 < lp_norm <= 1, "
                    "beta > 0, kappa > 0, iterations >= 1",
                    options.lp_norm, options.beta, options.kappa, options.iterations));
  }
  if (options.group_size == -1) return;
  const int64_t whole = options.axis == 1 ? weight.size(1) : weight.numel();
  if (whole % options.group_size != 0) {
    throw DataError(
        fmt::format("[hqq] weight [{}, {}]: {} {} is not a multiple of quant.group_size {}; take one that "
                    "divides it, or -1",
                    weight.size(0), weight.size(1), options.axis == 1 ? "in_features" : "number of weights", whole,
                    options.group_size));
  }
}

}  // namespace

HqqResult hqq(const at::Tensor& weight, const HqqOptions& options) {
  check(weight, options);
  const int64_t axis = options.axis;
  const int64_t group_size = options.group_size != -1 ? options.group_size : weight.size(axis);
  const at::Tensor w = axis == 1 ? weight.detach().to(at::kFloat).reshape({-1, group_size})
                                 : weight.detach().to(at::kFloat).reshape({group_size, -1});
  const double top = static_cast<double>((int64_t{1} << options.nbits) - 1);

  const at::Tensor lo = w.amin(axis, /*keepdim=*/true);
  const at::Tensor range = w.amax(axis, /*keepdim=*/true) - lo;
  at::Tensor inverse_scale = at::reciprocal(range).mul(top);
  inverse_scale = at::where(range.abs() <= kMinRange, at::ones_like(range), inverse_scale).clamp_max(kMaxInverseScale);
  at::Tensor zero = lo.neg().mul(inverse_scale);
  if (options.round_zero.value_or(options.nbits == 4)) zero = zero.round();

  const auto quantise = [&](const at::Tensor& z) { return w.mul(inverse_scale).add_(z).round_().clamp_(0, top); };
  HqqResult result;
  if (options.optimise) {
    const int64_t iterations = options.variant == HqqVariant::kSlow ? kSlowIterations : options.iterations;
    double beta = options.beta;
    float best_error = std::numeric_limits<float>::infinity();
    at::Tensor best_zero = zero;
    for (int64_t step = 0; step < iterations; ++step) {
      const at::Tensor codes = quantise(zero);
      const at::Tensor residual = w - codes.sub(zero).div_(inverse_scale);
      const float error = residual.abs().mean().item<float>();
      ++result.iterations;
      const bool stop = options.variant != HqqVariant::kSlow && !(error < best_error);
      if (!stop) {
        best_error = error;
        best_zero = zero;
      } else if (options.variant == HqqVariant::kV2) {
        zero = best_zero;
        break;
      }
      const at::Tensor sparse = shrink(residual, beta, options.lp_norm);
      zero = (codes - (w - sparse).mul_(inverse_scale)).mean(axis, /*keepdim=*/true);
      if (options.variant != HqqVariant::kLegacy) beta *= options.kappa;  // hqq 0.2.8's default solver never does
      if (stop) break;  // legacy: keeps this last zero point, made from a step that was already worse
    }
  }
  const at::Tensor codes = quantise(zero);
  result.error = (w - codes.sub(zero).div_(inverse_scale)).abs().mean().item<double>();

  const at::Tensor scale = at::reciprocal(inverse_scale);
  const auto per_group = [&](const at::Tensor& values) {
    return axis == 1 ? values.reshape({weight.size(0), -1}) : values.reshape({1, -1});
  };
  result.code = make_scalar_code("hqq", codes.reshape(weight.sizes()), per_group(scale), per_group(zero), options.nbits,
                                 group_size, /*symmetric=*/false, /*integer_zero_points=*/false);
  result.code.axis = axis;
  result.code.packing = CodePacking::kHqq;
  return result;
}

}  // namespace aqlm_exp::scalar
