// AWQ: input channels that carry large activations are scaled up before rounding (and their inputs scaled down, folded
// into the layer before), then outlying weights are clipped. Source: arXiv:2306.00978, as in mit-han-lab/llm-awq
// auto_scale.py and auto_clip.py, and AutoAWQ ("duo scaling"). Arithmetic is float32 (the packages: float16).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "framework/scalar/grid.h"

namespace aqlm_exp::scalar {

/// How one linear is stored in the end.
struct AwqFormat {
  int64_t nbits = 4;
  int64_t group_size = 128;  ///< -1: a whole row
  bool symmetric = false;
  bool dense = false;  ///< not quantised: takes part in a search only because it shares the input
};

struct AwqOptions {
  /// false: scales = a^r, a = mean |x| (llm-awq). true: a^r / w^(1-r), w = mean over outputs of |weight| / group
  /// maximum (AutoAWQ's and llm-compressor's default).
  bool duo_scaling = false;
  int64_t num_ratios = 20;           ///< r = i / num_ratios, i < num_ratios: 1 is never tried
  int64_t clip_num_steps = 20;       ///< clipping bounds are max |w| (1 - i / clip_num_steps) ...
  double clip_max_shrink = 0.5;      ///< ... for i < clip_max_shrink * clip_num_steps
  int64_t clip_sample_tokens = 512;  ///< tokens of the clip search, taken by stride
};

/// Mean squared error of a module's output when these weights (in the order given) stand in for its own.
using OutputError = std::function<double(const std::vector<at::Tensor>& weights)>;
/// A module's output for given weights.
using ModuleOutput = std::function<at::Tensor(const std::vector<at::Tensor>& weights)>;

/// Runs `output` once with `weights`, and returns the error of later outputs against that, in float32.
OutputError output_error(const ModuleOutput& output, const std::vector<at::Tensor>& weights);

struct AwqScales {
  at::Tensor scales;           ///< [in_features] float32: multiply weight columns, divide inputs
  double ratio = 0;            ///< r
  double error = 0;            ///< of the chosen ratio
  std::vector<double> errors;  ///< of each ratio tried
};

/// The scales for ratio r, normalised so that max * min is 1. @return [in_features] float32
at::Tensor awq_scales_at(double ratio, const at::Tensor& mean_abs_input, const at::Tensor& mean_weight,
                         bool duo_scaling);
/// Mean over all outputs of all weights of |weight| / (its group's largest |weight| + 1e-6). @return [in_features]
/// float32
at::Tensor mean_relative_weight(const std::vector<at::Tensor>& weights, const std::vector<AwqFormat>& formats);

/// Tries each ratio on linears that share an input, and keeps the first smallest error.
/// @param weights each [out_features, in_features] float32, not changed
/// @param formats one per weight
/// @param mean_abs_input [in_features] mean over tokens of |x|
/// @throws NumericalError if no ratio gives a finite error
AwqScales search_awq_scales(const std::vector<at::Tensor>& weights, const std::vector<AwqFormat>& formats,
                            const at::Tensor& mean_abs_input, const OutputError& error, const AwqOptions& options);

/// Searches, for each row and group, the bound to which weights are clipped before rounding: the one with the smallest
/// mean over tokens of the squared error of that group's share of the output.
/// @param weight [out_features, in_features] float32
/// @param inputs [tokens, in_features] float32, all of which are used: thin them out with awq_clip_stride first
/// @return [out_features, num_groups] float32
at::Tensor search_awq_clip(const at::Tensor& weight, const AwqFormat& format, const at::Tensor& inputs,
                           const AwqOptions& options);

/// Every how many tokens the clip search looks: max(1, num_tokens / clip_sample_tokens).
int64_t awq_clip_stride(int64_t num_tokens, const AwqOptions& options);

/// weight with each group clamped to plus or minus its bound. @return [out_features, in_features] float32
at::Tensor clip_groups(const at::Tensor& weight, const at::Tensor& bounds);

}  // namespace aqlm_exp::scalar
