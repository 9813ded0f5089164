// AQLM, whole: block by block on inputs from the already quantised blocks; every linear to an additive code under xtx;
// then block fine-tuning towards the outputs that the dense block gives on these inputs.
// Source: AQLM, arXiv:2401.06118, and the reference implementation's main loop. Floats are rounded to fp16, their
// stored form, when a block is finished and before it feeds the next one; the reference rounds to the model's own dtype
// there.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/base/log.h"
#include "framework/finetune/block_finetuner.h"
#include "framework/method/additive_quantiser.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"

namespace aqlm_exp::method {
namespace {

class Aqlm final : public Method {
 public:
  explicit Aqlm(config::Reader& root) : quantiser_(root) {
    finetuner_ = root.component("finetune", finetune::block_finetuners(), "trains a quantised block", "none");
  }

  std::string setting() const override { return quantiser_.spec().str(); }
  bool needs_calibration() const override { return true; }
  std::vector<quant::Scheme> schemes() const override {
    return {{.kind = quant::Scheme::Kind::kAdditive, .code = quantiser_.spec()}};
  }

  std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const override {
    Rng rng = context.rng.fork(problem.name);
    AdditiveResult result = quantiser_.quantise(problem, rng, context.times);
    result.weight->round_to_storage();
    context.metrics["rounds"] = static_cast<double>(result.losses.size() - 1);
    return result.weight;
  }

  void quantise(model::Model& model, const Calibration& calibration, Context& context) const override {
    for (BlockWalk walk(model, calibration, context); !walk.done(); walk.advance()) {
      model::DecoderBlock& block = walk.block();
      const BlockStatistics& statistics = walk.statistics();
      quantise_linears(block, walk.index(), statistics, context);
      finetune_block(block, *model.rotary, walk.index(), walk.inputs(), statistics.outputs, context);
      round_block(block);
    }
    double unused_codewords = 0;
    for (const LayerReport& layer : context.layers) unused_codewords += layer.metrics.at("unused_codewords");
    if (unused_codewords > 0) {
      context.notes.push_back(
          fmt::format("{} codewords are used by no group; they count in the bits", unused_codewords));
    }
    context.metrics["unused_codewords"] = unused_codewords;
  }

 private:
  void quantise_linears(model::DecoderBlock& block, int64_t index, const BlockStatistics& statistics,
                        Context& context) const {
    for (model::Linear* linear : block.linears()) {
      const Stopwatch watch;
      const quant::LayerProblem problem{.weight = linear->weight->dequantise().detach(),
                                        .xtx = statistics.xtx.at(linear->role),
                                        .name = linear->name};
      Rng rng = context.rng.fork(linear->name);
      AdditiveResult result = quantiser_.quantise(problem, rng, context.times);
      linear->weight = result.weight;
      report_layer(context, *linear, index, problem.weight, problem.xtx, watch.elapsed_s());
      context.layers.back().metrics["rounds"] = static_cast<double>(result.losses.size() - 1);
      context.layers.back().metrics["unused_codewords"] = static_cast<double>(result.weight->num_unused_codewords());
      log_debug("{}: relative output error {:.5f}, {} rounds, {:.1f} s", linear->name,
                context.layers.back().metrics["rel_output_error"], result.losses.size() - 1, watch.elapsed_s());
    }
  }

  void finetune_block(model::DecoderBlock& block, const model::RotaryEmbedding& rotary, int64_t index,
                      const at::Tensor& inputs, const at::Tensor& targets, Context& context) const {
    if (!finetuner_->is_active()) return;
    const StageTimes::Scope scope(context.times, "finetune");
    finetune::BlockTask task;
    task.name = fmt::format("block {}", index);
    task.forward = [&](const at::Tensor& x) { return block.forward(x, rotary); };
    task.inputs = inputs;
    task.targets = targets;
    task.parameters = block.dense_parameters();
    for (model::Linear* linear : block.linears()) {
      for (const at::Tensor& parameter : linear->weight->parameters()) task.parameters.push_back(parameter);
    }
    Rng rng = context.rng.fork("finetune " + block.name);
    const finetune::BlockReport report = finetuner_->finetune(task, rng);
    log_info("block {}: fine-tuning lowered the squared error from {:.6f} to {:.6f}", index, report.loss_before,
             report.loss_after);
  }

  static void round_block(model::DecoderBlock& block) {
    const c10::NoGradGuard no_grad;
    for (at::Tensor& parameter : block.dense_parameters()) parameter.copy_(parameter.to(at::kHalf));
    for (model::Linear* linear : block.linears()) linear->weight->round_to_storage();
  }

  AdditiveQuantiser quantiser_;
  std::unique_ptr<finetune::BlockFinetuner> finetuner_;
};

}  // namespace

void register_aqlm(MethodRegistry& registry) {
  registry.add("aqlm", "additive quantisation, arXiv:2401.06118",
               [](config::Reader& root) { return std::make_unique<Aqlm>(root); });
}

}  // namespace aqlm_exp::method
