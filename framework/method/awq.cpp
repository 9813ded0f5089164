// AWQ, whole: per block, scales searched for each set of linears that share an input, folded into what is before them;
// then clipping; then round-to-nearest on the AWQ grid. Every block sees the unquantised model's activations.
// Source: arXiv:2306.00978; mit-han-lab/llm-awq pre_quant.py, auto_scale.py, auto_clip.py. We differ: float32 in place
// of float16; errors of sets that inspect a single linear are computed from X·Xᵀ, which is the same sum in another
// order; folded norms, biases and routers are rounded to float16, as a checkpoint stores them. Experts: gate and up of
// all of them share one set of scales, down_proj has one for each, as in AutoAWQ's mixtral.py.
#include "framework/scalar/awq.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/method/awq_block.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "framework/method/scalar_format.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::method {
namespace {

class Awq final : public Method {
 public:
  explicit Awq(config::Reader& root) : formats_(root, {}) {
    config::Reader keys = root.section("method");
    symmetric_ = keys.flag("sym", {.fallback = false, .doc = "one zero point for all groups, none stored"});
    scale_ = keys.flag("scale", {.fallback = true, .doc = "search and fold channel scales"});
    options_.duo_scaling =
        keys.flag("duo_scaling",
                  {.fallback = false, .doc = "scales from activations and weights (AutoAWQ), not activations alone"});
    clip_ = keys.flag("clip", {.fallback = true, .doc = "search clipping bounds, except for q and k"});
    options_.num_ratios =
        keys.integer("num_ratios", {.fallback = 20, .min = 1, .doc = "exponents tried: i / num_ratios"});
    options_.clip_num_steps =
        keys.integer("clip_num_steps", {.fallback = 20, .min = 1, .doc = "steps of the clip range"});
    options_.clip_max_shrink =
        keys.number("clip_max_shrink",
                    {.fallback = 0.5, .min = 0.0, .max = 1.0, .doc = "how much of the range clipping may take away"});
    options_.clip_sample_tokens = keys.integer(
        "clip_sample_tokens", {.fallback = 512, .min = 1, .unit = "tokens", .doc = "tokens of the clip search"});
    search_samples_ = keys.integer("search_samples", {.fallback = 0,
                                                      .min = 0,
                                                      .unit = "samples",
                                                      .doc = "samples on which attention and MLP are run in the scale "
                                                             "search; 0: all of the calibration"});
  }

  std::string setting() const override {
    return fmt::format("{}{}{}{}", formats_.str(), symmetric_ ? " sym" : "",
                       !scale_                ? " no scales"
                       : options_.duo_scaling ? " duo"
                                              : "",
                       clip_ ? "" : " no clip");
  }
  bool needs_calibration() const override { return true; }
  std::vector<quant::Scheme> schemes() const override { return formats_.schemes(quant::Scheme::Kind::kScalar); }

  void quantise(model::Model& model, const Calibration& calibration, Context& context) const override {
    formats_.check(model);
    const int64_t num_samples = calibration.input_ids.size(0);
    const int64_t samples = search_samples_ == 0 ? num_samples : std::min(search_samples_, num_samples);
    bool attention_output_left_out = false;
    for (const model::DecoderBlock& block : model.blocks) {
      attention_output_left_out |= !can_scale_attention_output(block);
    }
    BlockWalk walk(model, calibration, context,
                   {.original_inputs = true, .sample_tokens = options_.clip_sample_tokens});
    for (; !walk.done(); walk.advance()) {
      model::DecoderBlock& block = walk.block();
      const at::Tensor search_inputs = walk.inputs().slice(0, 0, samples);
      BlockInputs found = awq_inputs(block, *model.rotary, search_inputs, walk.statistics(), calibration.experts);
      try {
        quantise_block(block, walk.index(), *model.rotary, search_inputs, found, context);
      } catch (const NumericalError& error) {
        throw NumericalError(block.name + ": " + error.what());
      }
    }
    if (scale_ && samples < num_samples) {
      context.notes.push_back(
          fmt::format("the scale search ran attention and MLP on {} of {} calibration samples", samples, num_samples));
    }
    if (scale_ && attention_output_left_out) {
      context.notes.push_back("o_proj is not scaled: v_proj has another shape (grouped-query attention)");
    }
  }

 private:
  void quantise_block(model::DecoderBlock& block, int64_t index, const model::RotaryEmbedding& rotary,
                      const at::Tensor& inputs, BlockInputs& statistics, Context& context) const {
    const c10::NoGradGuard no_grad;
    RoleWeights weights;
    for (const model::Linear* linear : block.linears()) {
      weights[linear->role] = linear->weight->dequantise().detach();
    }
    if (scale_) {
      // All searches look at the original weights; scales are applied afterwards, as in llm-awq's run_awq.
      const std::vector<ScaleSet> sets = scale_sets(block);
      std::vector<at::Tensor> scales;
      {
        const StageTimes::Scope scope(context.times, "scale search");
        for (const ScaleSet& set : sets) scales.push_back(search_set(block, rotary, inputs, statistics, weights, set));
      }
      for (size_t i = 0; i < sets.size(); ++i) {
        const at::Tensor& s = scales[i];
        if (!s.defined()) continue;
        fold_scales(block, weights, sets[i], s);
        for (const size_t stage : sets[i].stages) {
          StageInputs& x = statistics.stages[stage];
          if (!x.enough_tokens) continue;
          x.sample = x.sample / s;
          x.xtx = x.xtx / at::outer(s, s).to(at::kDouble);
        }
      }
    }
    const auto stages = block.stages();
    for (size_t stage = 0; stage < stages.size(); ++stage) {
      for (model::Linear* linear : stages[stage]) {
        const Stopwatch watch;
        const at::Tensor scaled = weights.at(linear->role);
        const ScalarFormat format = formats_.at(linear->name);
        if (format.skip) {
          // Its columns carry the scales that were divided out of its input.
          linear->weight = std::make_shared<quant::DenseWeight>(scaled.to(at::kHalf).to(at::kFloat));
          continue;
        }
        at::Tensor clipped = scaled;
        const bool clips = clip_ && statistics.stages[stage].enough_tokens;
        if (clips && linear != &block.q_proj && linear != &block.k_proj && linear != &block.qkv_proj) {
          const StageTimes::Scope scope(context.times, "clip search");
          clipped = scalar::clip_groups(
              scaled, scalar::search_awq_clip(scaled, awq_format(format), statistics.stages[stage].sample, options_));
        }
        const StageTimes::Scope scope(context.times, "quantise");
        linear->weight = std::make_shared<scalar::ScalarWeight>(
            scalar::rtn(clipped, format.group_size,
                        {.kind = scalar::GridKind::kAwq, .nbits = format.nbits, .symmetric = symmetric_, .mse = false}),
            "awq");
        report_layer(context, *linear, index, scaled, statistics.stages[stage].xtx, watch.elapsed_s());
      }
    }
  }

  /// Undefined where nothing is to be scaled.
  at::Tensor search_set(model::DecoderBlock& block, const model::RotaryEmbedding& rotary, const at::Tensor& inputs,
                        const BlockInputs& statistics, const RoleWeights& weights, const ScaleSet& set) const {
    std::vector<at::Tensor> originals;
    std::vector<scalar::AwqFormat> formats;
    const auto stages = block.stages();
    for (const size_t stage : set.stages) {
      for (const model::Linear* linear : stages[stage]) {
        originals.push_back(weights.at(linear->role));
        formats.push_back(awq_format(formats_.at(linear->name)));
      }
    }
    if (std::all_of(formats.begin(), formats.end(), [](const scalar::AwqFormat& f) { return f.dense; })) return {};
    const StageInputs& x = statistics.stages[set.stages.front()];
    at::Tensor mean_abs = x.mean_abs;
    scalar::OutputError error;
    if (set.before == ScaleSet::Before::kInputNorm) {
      error = module_error(block, set.roles, inputs, [&](const model::DecoderBlock& b, const at::Tensor& hidden) {
        return b.attention(model::rms_norm(hidden, b.input_norm, b.shape.rms_norm_eps), rotary);
      });
    } else if (set.before == ScaleSet::Before::kMlpNorm) {
      // Every expert knows its own tokens only; what they share is the input of them all.
      if (!block.moe.empty()) mean_abs = statistics.mlp.abs().flatten(0, 1).mean(0);
      error = module_error(block, set.roles, statistics.mlp,
                           [](const model::DecoderBlock& b, const at::Tensor& normed) { return b.mlp(normed); });
    } else {
      if (!x.enough_tokens) return {};
      error = linear_error(originals.front(), x.xtx);
    }
    const scalar::AwqScales found = scalar::search_awq_scales(originals, formats, mean_abs, error, options_);
    log_debug("{} {}: exponent {:.2f}, output error {:.3e} (unscaled {:.3e})", block.name, set.name, found.ratio,
              found.error, found.errors.front());
    return found.scales;
  }

  scalar::AwqFormat awq_format(const ScalarFormat& format) const {
    return {.nbits = format.nbits, .group_size = format.group_size, .symmetric = symmetric_, .dense = format.skip};
  }

  ScalarFormats formats_;
  scalar::AwqOptions options_;
  bool symmetric_ = false, scale_ = true, clip_ = true;
  int64_t search_samples_ = 0;
};

}  // namespace

void register_awq(MethodRegistry& registry) {
  registry.add("awq", "activation-aware scaling and clipping before rounding, arXiv:2306.00978",
               [](config::Reader& root) { return std::make_unique<Awq>(root); });
}

}  // namespace aqlm_exp::method
