#include "framework/method/objective.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;
/// Panels of columns that a symmetric product is cut into, up to four of at least this width: narrower ones multiply
/// slower than they save (two Zen 4 cores, 4096 tokens, one panel against these: 256 columns 3.2 → 2.5 ms, 768 26 → 23
/// ms, 2048 210 → 138 ms).
constexpr int64_t kPanelColumns = 128, kMostPanels = 4;

/// sum += xᵀ · weighted on and above the diagonal, where weighted is x with its rows scaled.
void add_symmetric(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weighted) {
  const int64_t columns = x.size(1), panels = std::clamp<int64_t>(columns / kPanelColumns, 1, kMostPanels);
  for (int64_t p = 0; p < panels; ++p) {
    const int64_t begin = columns * p / panels, end = columns * (p + 1) / panels;
    sum.slice(0, begin, end).slice(1, begin).add_(at::matmul(x.slice(1, begin, end).t(), weighted.slice(1, begin)));
  }
}

}  // namespace

ObjectiveOptions read_objective(config::Reader& root) {
  config::Reader in = root.section("objective", {.doc = "what a linear's code is fitted to"});
  ObjectiveOptions options;
  options.damping =
      in.number("damping", {.fallback = 0.0,
                            .min = 0.0,
                            .max = 100.0,
                            .doc = "xtx over its mean diagonal, plus this times the identity; 0: xtx as it is"});
  options.token_weights =
      in.flag("token_weights",
              {.fallback = false,
               .doc = "tokens count by the squared gradient of the float model's loss at the linear's output"});
  options.token_weight.clip = in.optional_number(
      "token_weight_clip", {.min = 1.0, .doc = "largest weight of a token (their mean is 1); null: none"});
  const auto dtype = [&](const char* key, const char* doc) {
    const bool half =
        in.text(key, {.fallback = "float32", .choices = {"float32", "bfloat16"}, .doc = doc}) == "bfloat16";
    return half ? at::kBFloat16 : at::kFloat;
  };
  options.token_weight.dtype =
      dtype("token_weight_dtype", "of weights, activations and gradients in the pass behind token_weights");
  options.token_weight.by_stage =
      in.text("token_weight_scope",
              {.fallback = "linear",
               .choices = {"linear", "stage"},
               .doc = "linear: each has its tokens' weights; stage: linears that read the same input share the mean of "
                      "theirs, and so their moments"}) == "stage";
  options.mismatch = in.number(
      "mismatch", {.fallback = 0.0,
                   .min = 0.0,
                   .max = 1.0,
                   .doc = "part of the error of a linear's inputs, against the float model's, that its target "
                          "makes up for"});
  options.residual = in.number(
      "residual", {.fallback = 0.0,
                   .min = 0.0,
                   .max = 1.0,
                   .doc = "part of the residual stream's error, against the float model's, that the targets of "
                          "o_proj and down_proj make up for"});
  options.mismatch_damping = in.number(
      "mismatch_damping",
      {.fallback = 0.03, .min = 0.0, .max = 100.0, .doc = "damping of that, as a part of the mean diagonal of xtx"});
  options.stages =
      in.flag("stages", {.fallback = false,
                         .doc = "moments afresh for q,k,v, then o, then gate,up, then down, each with what "
                                "is quantised already in front"});
  options.pass_dtype = dtype("pass_dtype",
                             "of linears and attention in the passes of the float model and the quantised blocks that "
                             "moments come from; the stream, norms and the moments' products stay float32. Passes that "
                             "stage_finetune, experts or block fine-tuning run are float32");
  options.float_targets =
      in.text("block_target", {.fallback = "quantised_inputs",
                               .choices = {"quantised_inputs", "float_model"},
                               .doc = "what block fine-tuning aims at: outputs of the unquantised block on the inputs "
                                      "it gets now, or of the float model"}) == "float_model";
  return options;
}

void MomentAccumulator::add(const at::Tensor& x, const at::Tensor& float_x, const at::Tensor& weights) {
  const c10::NoGradGuard no_grad;
  const at::Tensor tokens = x.reshape({-1, x.size(-1)});
  const at::Tensor float_tokens = float_x.defined() ? float_x.reshape(tokens.sizes()) : at::Tensor();
  const at::Tensor token_weights = weights.defined() ? weights.reshape({-1, 1}) : at::Tensor();
  if (!xtx_.defined()) {
    xtx_ = at::zeros({x.size(-1), x.size(-1)}, x.options().dtype(at::kDouble));
    if (float_x.defined()) mismatch_ = at::zeros_like(xtx_);
  }
  for (int64_t start = 0; start < tokens.size(0); start += kTokensAtATime) {
    const int64_t end = std::min(tokens.size(0), start + kTokensAtATime);
    const at::Tensor part = tokens.slice(0, start, end);
    const at::Tensor weighted = weights.defined() ? part * token_weights.slice(0, start, end) : part;
    add_symmetric(xtx_, part, weighted);
    if (!float_x.defined()) continue;
    mismatch_.add_(at::matmul((float_tokens.slice(0, start, end) - part).t(), weighted));
  }
  num_tokens_ += tokens.size(0);
}

void MomentAccumulator::add_residual(const at::Tensor& x, const at::Tensor& error, const at::Tensor& weights) {
  const c10::NoGradGuard no_grad;
  const at::Tensor tokens = x.reshape({-1, x.size(-1)});
  const at::Tensor weighted = weights.defined() ? tokens * weights.reshape({-1, 1}) : tokens;
  const at::Tensor errors = error.reshape({-1, error.size(-1)});
  if (!residual_.defined()) residual_ = at::zeros({errors.size(1), tokens.size(1)}, x.options().dtype(at::kDouble));
  for (int64_t start = 0; start < tokens.size(0); start += kTokensAtATime) {
    const int64_t end = std::min(tokens.size(0), start + kTokensAtATime);
    residual_.add_(at::matmul(errors.slice(0, start, end).t(), weighted.slice(0, start, end)));
  }
}

Moments MomentAccumulator::mean() const {
  const auto n = static_cast<double>(num_tokens_);
  const auto over_n = [n](const at::Tensor& sum) { return sum.defined() ? sum / n : at::Tensor(); };
  const at::Tensor xtx = xtx_.defined() ? xtx_.triu() + xtx_.triu(1).t() : at::Tensor();
  return {over_n(xtx), over_n(mismatch_), over_n(residual_)};
}

quant::LayerProblem make_problem(const at::Tensor& weight, const Moments& moments, const ObjectiveOptions& options,
                                 const std::string& name) {
  quant::LayerProblem problem{.weight = weight, .xtx = moments.xtx, .name = name};
  const bool corrects_inputs = options.mismatch > 0.0 && moments.mismatch.defined();
  const bool corrects_stream = options.residual > 0.0 && moments.residual.defined();
  const bool corrects = corrects_inputs || corrects_stream;
  if (options.damping == 0.0 && !corrects) return problem;
  const double mean = moments.xtx.diagonal().mean().item<double>();
  if (corrects && mean > 0.0) {
    at::Tensor damped = moments.xtx.clone();
    damped.diagonal().add_(options.mismatch_damping * mean);
    const auto [factor, info] = at::linalg_cholesky_ex(damped);
    if (info.item<int64_t>() != 0) {
      throw NumericalError(
          fmt::format("[objective] {}: xtx with objective.mismatch_damping {:g} is not positive definite; try 0.03",
                      name, options.mismatch_damping));
    }
    const at::Tensor plain = weight.to(at::kDouble);
    at::Tensor error = at::zeros_like(plain);  // [out, in]
    if (corrects_inputs) error.add_(at::matmul(plain, moments.mismatch), options.mismatch);
    if (corrects_stream) error.add_(moments.residual, options.residual);
    problem.weight = (plain + at::cholesky_solve(error.t(), factor).t()).to(at::kFloat).contiguous();
  }
  if (options.damping > 0.0) {
    at::Tensor damped = moments.xtx / (mean > 0.0 ? mean : 1.0);
    damped.diagonal().add_(options.damping);
    problem.xtx = damped.to(at::kFloat);
  }
  return problem;
}

}  // namespace aqlm_exp::method
