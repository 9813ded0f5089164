// GPTQ, whole: block by block; a block's linears against the Hessians of its inputs, then its outputs with the
// quantised weights feed the next block. Source: arXiv:2210.17323 and IST-DASLab/gptq llama.py.
#include "framework/scalar/gptq.h"

#include <ATen/ATen.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "framework/method/scalar_format.h"
#include "framework/scalar/scalar_weight.h"

namespace aqlm_exp::method {
namespace {

class Gptq final : public Method {
 public:
  explicit Gptq(config::Reader& root) : formats_(root, {}) {
    config::Reader keys = root.section("method");
    options_.symmetric = keys.flag("sym", {.fallback = false, .doc = "one zero point for all groups, none stored"});
    options_.mse = keys.flag("mse", {.fallback = false, .doc = "shrink each range to the least sum of |error|^2.4"});
    options_.desc_act =
        keys.flag("desc_act", {.fallback = false, .doc = "columns by falling Hessian diagonal (act-order)"});
    options_.static_groups =
        keys.flag("static_groups",
                  {.fallback = false, .doc = "grids of all groups from the original weight, in plain column order"});
    options_.damp_percent =
        keys.number("damp_percent",
                    {.fallback = 0.01, .min = 0.0, .max = 1.0, .doc = "damping as a fraction of the mean diagonal"});
    options_.block_size = keys.integer(
        "block_size", {.fallback = 128, .min = 1, .unit = "columns", .doc = "columns between updates of the rest"});
    true_sequential_ = keys.flag(
        "true_sequential", {.fallback = false, .doc = "Hessians afresh for q,k,v, then o, then gate,up, then down"});
    const std::string failure = keys.text("on_not_positive_definite", {.fallback = "error",
                                                                       .choices = {"error", "increase_damping"},
                                                                       .doc = "when a Hessian has no Cholesky factor"});
    options_.on_not_positive_definite =
        failure == "error" ? scalar::OnNotPositiveDefinite::kError : scalar::OnNotPositiveDefinite::kIncreaseDamping;
    if (!keys.describing() && options_.static_groups && formats_.common().group_size == -1) {
      throw ConfigError("method.static_groups: got true with quant.group_size -1, need a group size");
    }
  }

  std::string setting() const override {
    return fmt::format("{}{}{}{}{}{}", formats_.str(), options_.symmetric ? " sym" : "", options_.mse ? " mse" : "",
                       options_.desc_act ? " act-order" : "", options_.static_groups ? " static" : "",
                       true_sequential_ ? " true-sequential" : "");
  }
  bool needs_calibration() const override { return true; }
  std::vector<quant::Scheme> schemes() const override { return formats_.schemes(quant::Scheme::Kind::kScalar); }

  void quantise(model::Model& model, const Calibration& calibration, Context& context) const override {
    formats_.check(model);
    for (BlockWalk walk(model, calibration, context); !walk.done(); walk.advance()) {
      model::DecoderBlock& block = walk.block();
      std::vector<Stages> passes;  // stages that share a forward pass
      if (true_sequential_) {
        for (const auto& stage : block.stages()) passes.push_back({stage});
      } else {
        passes.push_back(block.stages());
      }
      for (size_t pass = 0; pass < passes.size(); ++pass) {
        const BlockStatistics statistics =
            pass == 0 ? walk.statistics(passes[pass]) : walk.statistics_now(passes[pass]);
        const StageTimes::Scope scope(context.times, "quantise");
        for (const auto& stage : passes[pass]) {
          for (model::Linear* linear : stage) {
            quantise_linear(*linear, walk.index(), statistics.xtx.at(linear->role), context);
          }
        }
      }
    }
    int64_t num_dead = 0, num_raised = 0;
    for (const LayerReport& layer : context.layers) {
      num_dead += static_cast<int64_t>(layer.metrics.at("dead_columns"));
      num_raised += layer.metrics.at("damp_percent") > options_.damp_percent;
    }
    context.metrics["dead_columns"] = static_cast<double>(num_dead);
    context.metrics["layers_with_raised_damping"] = static_cast<double>(num_raised);
    if (num_dead > 0) {
      context.notes.push_back(
          fmt::format("{} input columns were zero over the whole calibration; their weights are 0", num_dead));
    }
    if (num_raised > 0) {
      context.notes.push_back(
          fmt::format("{} linears needed more damping than damp_percent {:g}", num_raised, options_.damp_percent));
    }
  }

  std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const override {
    const StageTimes::Scope scope(context.times, "quantise");
    scalar::GptqResult result = compensated(problem, formats_.at(problem.name));
    context.metrics["gptq_loss"] = result.loss;
    context.metrics["damp_percent"] = result.damp_percent_used;
    context.metrics["dead_columns"] = static_cast<double>(result.num_dead_columns);
    return std::make_shared<scalar::ScalarWeight>(std::move(result.code), "gptq");
  }

 private:
  scalar::GptqResult compensated(const quant::LayerProblem& problem, const ScalarFormat& format) const {
    scalar::GptqOptions options = options_;
    options.nbits = format.nbits;
    options.group_size = format.group_size;
    try {
      return scalar::gptq(problem.weight, problem.xtx, options);
    } catch (const NumericalError& error) {
      throw NumericalError(problem.name + ": " + error.what());
    }
  }

  void quantise_linear(model::Linear& linear, int64_t block, const at::Tensor& xtx, Context& context) const {
    const ScalarFormat format = formats_.at(linear.name);
    if (format.skip) return;
    const Stopwatch watch;
    const at::Tensor original = linear.weight->dequantise().detach();
    scalar::GptqResult result = compensated({.weight = original, .xtx = xtx, .name = linear.name}, format);
    linear.weight = std::make_shared<scalar::ScalarWeight>(std::move(result.code), "gptq");
    report_layer(context, linear, block, original, xtx, watch.elapsed_s());
    auto& metrics = context.layers.back().metrics;
    metrics["gptq_loss"] = result.loss;
    metrics["damp_percent"] = result.damp_percent_used;
    metrics["dead_columns"] = static_cast<double>(result.num_dead_columns);
    if (result.damp_percent_used > options_.damp_percent) {
      log_warning("{}: the Hessian needed damp_percent {:g} in place of {:g}", linear.name, result.damp_percent_used,
                  options_.damp_percent);
    }
    log_debug("{}: relative output error {:.5f}, {:.2f} s", linear.name, metrics["rel_output_error"],
              watch.elapsed_s());
  }

  ScalarFormats formats_;
  scalar::GptqOptions options_;
  bool true_sequential_ = false;
};

}  // namespace

void register_gptq(MethodRegistry& registry) {
  registry.add("gptq", "error-compensated rounding under the inputs' Hessian, arXiv:2210.17323",
               [](config::Reader& root) { return std::make_unique<Gptq>(root); });
}

}  // namespace aqlm_exp::method
