#include "framework/scalar/awq.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::scalar {
namespace {

constexpr double kMinScale = 1e-4;
constexpr double kStartError = 1e9;                  // auto_clip.py's "min_errs"
constexpr int64_t kClipElements = int64_t{1} << 24;  // size of the largest temporary of the clip search

GridOptions grid_options(const AwqFormat& format) {
  return {.kind = GridKind::kAwq, .nbits = format.nbits, .symmetric = format.symmetric, .mse = false};
}

void check_linear(const at::Tensor& weight, const AwqFormat& format, int64_t num_channels) {
  check_weight("awq", weight);
  if (!format.dense) check_format("awq", format.nbits, format.group_size, 2);
  if (weight.size(1) != num_channels) {
    throw DataError(
        fmt::format("[awq] a weight has {} input columns, the calibration inputs have {} channels; need linears that "
                    "share these inputs",
                    weight.size(1), num_channels));
  }
  if (format.group_size != -1 && weight.size(1) % format.group_size != 0) {
    throw DataError(
        fmt::format("[awq] weight [{}, {}]: in_features is not a multiple of quant.group_size {}; take one "
                    "that divides it, or -1",
                    weight.size(0), weight.size(1), format.group_size));
  }
}

void check_inputs(const at::Tensor& inputs) {
  if (at::isfinite(inputs).all().item<bool>()) return;
  throw NumericalError("[awq] calibration inputs: got NaN or infinity, need finite numbers; check the model's dtype");
}

}  // namespace

OutputError output_error(const ModuleOutput& output, const std::vector<at::Tensor>& weights) {
  const at::Tensor original = output(weights).to(at::kFloat);
  return [output, original](const std::vector<at::Tensor>& trial) {
    return (original - output(trial).to(at::kFloat)).square_().mean().item<double>();
  };
}

at::Tensor mean_relative_weight(const std::vector<at::Tensor>& weights, const std::vector<AwqFormat>& formats) {
  at::Tensor sum;
  int64_t num_rows = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor weight = weights[i].detach().to(at::kFloat).abs();
    const at::Tensor groups =
        weight.reshape({-1, formats[i].group_size == -1 ? weight.size(1) : formats[i].group_size});
    const at::Tensor relative = groups.div(groups.amax(1, /*keepdim=*/true).add(1e-6)).reshape(weight.sizes()).sum(0);
    sum = sum.defined() ? sum + relative : relative;
    num_rows += weight.size(0);
  }
  return sum / static_cast<double>(num_rows);
}

at::Tensor awq_scales_at(double ratio, const at::Tensor& mean_abs_input, const at::Tensor& mean_weight,
                         bool duo_scaling) {
  at::Tensor scales = mean_abs_input.pow(ratio);
  if (duo_scaling) scales = scales / (mean_weight.pow(1 - ratio) + 1e-4);
  scales = scales.clamp_min(kMinScale);
  scales = scales / (scales.max() * scales.min()).sqrt();
  if (duo_scaling) scales = at::where(at::isfinite(scales), scales, at::ones_like(scales));  // as AutoAWQ does
  return scales;
}

AwqScales search_awq_scales(const std::vector<at::Tensor>& weights, const std::vector<AwqFormat>& formats,
                            const at::Tensor& mean_abs_input, const OutputError& error, const AwqOptions& options) {
  if (weights.empty() || weights.size() != formats.size()) {
    throw InternalError(fmt::format("[awq] got {} linears and {} formats, need one format for each of at least one",
                                    weights.size(), formats.size()));
  }
  for (size_t i = 0; i < weights.size(); ++i) check_linear(weights[i], formats[i], mean_abs_input.size(0));
  check_inputs(mean_abs_input);
  const at::Tensor a = mean_abs_input.detach().to(at::kFloat);
  const at::Tensor w = options.duo_scaling ? mean_relative_weight(weights, formats) : at::Tensor();
  AwqScales best;
  best.error = std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < options.num_ratios; ++i) {
    const double ratio = static_cast<double>(i) / static_cast<double>(options.num_ratios);
    const at::Tensor scales = awq_scales_at(ratio, a, w, options.duo_scaling);
    std::vector<at::Tensor> trial;
    for (size_t k = 0; k < weights.size(); ++k) {
      const at::Tensor weight = weights[k].detach().to(at::kFloat);
      trial.push_back(formats[k].dense
                          ? weight
                          : pseudo_quantise(weight * scales, formats[k].group_size, grid_options(formats[k])) / scales);
    }
    best.errors.push_back(error(trial));
    if (best.errors.back() < best.error) {
      best.error = best.errors.back();
      best.ratio = ratio;
      best.scales = scales;
    }
  }
  if (!best.scales.defined()) {
    throw NumericalError(fmt::format(
        "[awq] scale search over {} linears with {} input channels: none of {} ratios gives a finite output error (the "
        "first gave {}); the block's outputs overflow, try float32 and check the checkpoint",
        weights.size(), a.size(0), options.num_ratios, best.errors.empty() ? 0.0 : best.errors.front()));
  }
  if (!at::isfinite(best.scales).all().item<bool>()) {
    throw NumericalError("[awq] scale search: the best scales hold NaN or infinity; check the calibration inputs");
  }
  return best;
}

int64_t awq_clip_stride(int64_t num_tokens, const AwqOptions& options) {
  return std::max<int64_t>(1, num_tokens / options.clip_sample_tokens);
}

at::Tensor search_awq_clip(const at::Tensor& weight, const AwqFormat& format, const at::Tensor& inputs,
                           const AwqOptions& options) {
  check_linear(weight, format, inputs.size(-1));
  check_inputs(inputs);
  const int64_t out = weight.size(0), in = weight.size(1);
  const int64_t group_size = format.group_size == -1 ? in : format.group_size;
  const int64_t num_groups = in / group_size;
  const at::Tensor w = weight.detach().to(at::kFloat).reshape({out, num_groups, group_size}).transpose(0, 1);

  const at::Tensor x =
      inputs.detach().to(at::kFloat).reshape({-1, num_groups, group_size}).transpose(0, 1).contiguous();
  const int64_t tokens = x.size(1);  // x: [num_groups, tokens, group_size]

  const int64_t steps = static_cast<int64_t>(options.clip_max_shrink * static_cast<double>(options.clip_num_steps));
  const int64_t rows_at_once = std::clamp<int64_t>(kClipElements / (num_groups * std::max(tokens, group_size)), 1, out);
  std::vector<at::Tensor> bounds;
  for (int64_t first = 0; first < out; first += rows_at_once) {
    const at::Tensor part = w.slice(1, first, std::min(out, first + rows_at_once));  // [num_groups, rows, group_size]
    const at::Tensor original = x.matmul(part.transpose(1, 2));                      // [num_groups, tokens, rows]
    const at::Tensor largest = part.abs().amax(2, /*keepdim=*/true);                 // [num_groups, rows, 1]
    at::Tensor best = largest, smallest_error = at::full_like(largest, kStartError);
    for (int64_t i = 0; i < steps; ++i) {
      const at::Tensor bound = largest * (1 - static_cast<double>(i) / static_cast<double>(options.clip_num_steps));
      const at::Tensor clipped = at::minimum(at::maximum(part, -bound), bound);
      const at::Tensor quantised =
          pseudo_quantise(clipped.reshape({-1, group_size}), group_size, grid_options(format)).reshape(clipped.sizes());
      const at::Tensor error =
          x.matmul(quantised.transpose(1, 2)).sub_(original).square_().mean(1).unsqueeze(2);  // [num_groups, rows, 1]
      const at::Tensor better = error < smallest_error;
      smallest_error = at::where(better, error, smallest_error);
      best = at::where(better, bound, best);
    }
    bounds.push_back(best.squeeze(2).t());  // [rows, num_groups]
  }
  return at::cat(bounds, 0).contiguous();
}

at::Tensor clip_groups(const at::Tensor& weight, const at::Tensor& bounds) {
  const at::Tensor groups = weight.detach().to(at::kFloat).reshape({bounds.size(0), bounds.size(1), -1});
  const at::Tensor bound = bounds.unsqueeze(2);
  return at::minimum(at::maximum(groups, -bound), bound).reshape(weight.sizes());
}

}  // namespace aqlm_exp::scalar
