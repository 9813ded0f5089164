// AQLM, whole: block by block on inputs from the already quantised blocks; every linear to an additive code under its
// objective; then block fine-tuning. Source: AQLM, arXiv:2401.06118, and the reference implementation's main loop,
// which `objective` at its defaults is. Beyond the reference: stages on inputs collected afresh, token weights, targets
// that correct for the inputs' errors (objective.h), and fine-tuning of the whole block, its still dense linears
// included, after each stage. Floats are rounded to fp16, their stored form, when a block is finished and before it
// feeds the next one; the reference rounds to the model's own dtype there.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/finetune/block_finetuner.h"
#include "framework/method/additive_quantiser.h"
#include "framework/method/bit_allocation.h"
#include "framework/method/block_loop.h"
#include "framework/method/block_moments.h"
#include "framework/method/method.h"
#include "framework/method/objective.h"
#include "framework/method/token_weights.h"

namespace aqlm_exp::method {
namespace {

/// One block on its way: what it gets, what it should give.
struct BlockJob {
  int64_t index = 0;
  model::DecoderBlock& block;
  const model::RotaryEmbedding& rotary;
  const at::Tensor& inputs;                                // [num_samples, seq_len, hidden]
  at::Tensor targets = {};                                 // of fine-tuning
  const std::map<std::string, size_t>* choices = nullptr;  // by linear, of allocation.choices; empty: all alike
};

class Aqlm final : public Method {
 public:
  explicit Aqlm(config::Reader& root) : quantiser_(root), objective_(read_objective(root)) {
    finetuner_ = root.component("finetune", finetune::block_finetuners(), "trains a quantised block", "none");
    stage_finetuner_ = root.component("stage_finetune", finetune::block_finetuners(),
                                      "trains the whole block after each stage but the last", "none");
    target_bits_ = read_allocation(
        root, [this](config::Reader& entry) { allocation_choices_.push_back(quant::read_code_spec(entry)); });
    const std::string steps =
        root.section("allocation")
            .text("steps", {.fallback = "D L", .doc = "additive codes: the schedule behind the error curves"});
    if (!root.describing()) allocation_steps_ = parse_schedule(steps);
    if (!root.describing() && stage_finetuner_->is_active() && !objective_.stages) {
      throw ConfigError(
          "stage_finetune: got a fine-tuner with objective.stages false, need objective.stages: true or "
          "stage_finetune: none");
    }
  }

  std::string setting() const override {
    return target_bits_ ? fmt::format("{:.2f} bits mixed", *target_bits_) : quantiser_.spec().str();
  }
  bool needs_calibration() const override { return true; }
  std::vector<quant::Scheme> schemes() const override {
    return {{.kind = quant::Scheme::Kind::kAdditive, .code = quantiser_.spec()}};
  }

  std::shared_ptr<quant::Weight> quantise_layer(const quant::LayerProblem& problem, Context& context) const override {
    Rng rng = context.rng.fork(problem.name);
    const quant::LayerProblem damped = make_problem(problem.weight, {problem.xtx, {}}, objective_, problem.name);
    AdditiveResult result = quantiser_.quantise(damped, rng, context.times);
    result.weight->round_to_storage();
    context.metrics["rounds"] = static_cast<double>(result.num_rounds);
    context.metrics.merge(result.metrics);
    return result.weight;
  }

  void quantise(model::Model& model, const Calibration& calibration, Context& context) const override {
    check_blocks(model);
    model::Model original = model.clone();
    std::vector<RoleWeights> weights;
    if (objective_.token_weights) {
      const StageTimes::Scope scope(context.times, "token_weights");
      weights = token_weights(original, calibration, objective_.token_weight, context.cache);
    }
    std::map<std::string, size_t> choices;
    if (target_bits_) choices = allocate(original, calibration, context);
    // The float model's side of the block at hand; undefined where not needed.
    at::Tensor float_inputs = objective_.needs_float_model() ? embed_calibration(original, calibration) : at::Tensor();
    int64_t float_blocks = 0;  // of the original model that float_inputs went through
    for (BlockWalk walk(model, calibration, context); !walk.done();) {
      if (calibration.original_activations) walk.statistics();  // the walk goes on from their outputs
      for (; float_inputs.defined() && float_blocks < walk.index(); ++float_blocks) {  // after a restart
        const StageTimes::Scope scope(context.times, "float_forward");
        float_inputs = run_block(original.blocks[static_cast<size_t>(float_blocks)], *model.rotary, float_inputs);
      }
      BlockJob job{walk.index(), walk.block(), *model.rotary, walk.inputs()};
      job.choices = &choices;
      model::DecoderBlock& float_block = original.blocks[static_cast<size_t>(walk.index())];
      if (is_plain()) {
        quantise_plain(walk, job, float_block, context);
        walk.advance();
        continue;
      }
      const RoleWeights* of_block = weights.empty() ? nullptr : &weights[static_cast<size_t>(walk.index())];
      BlockMoments moments({job.block, float_block, job.rotary, job.inputs, float_inputs}, objective_, of_block,
                           in_steps(job.block), context.times);
      quantise_block(job, moments, float_block, context);
      float_inputs = moments.float_outputs();
      ++float_blocks;
      // Without fine-tuning and with stages, nothing has changed since the moments but down_proj, which comes last.
      const bool has_outputs = !tunes() && objective_.stages && in_steps(job.block) && walk.needs_outputs();
      walk.advance(has_outputs ? moments.outputs() : at::Tensor());
    }
    double unused_codewords = 0;
    for (const LayerReport& layer : context.layers) unused_codewords += layer.metrics.at("unused_codewords");
    if (unused_codewords > 0) {
      context.notes.push_back(
          fmt::format("{} codewords are used by no group; they count in the bits", unused_codewords));
    }
    context.metrics["unused_codewords"] = unused_codewords;
    if (objective_.pass_dtype != at::kFloat && (model.blocks.empty() || !in_steps(model.blocks.front()))) {
      context.notes.push_back(
          "passes behind moments were float32, whatever objective.pass_dtype says: with "
          "stage_finetune, experts or an objective without stages, weights and corrections they are");
    }
  }

 private:
  bool is_plain() const {
    return !objective_.stages && !objective_.token_weights && !objective_.corrects() && !objective_.float_targets;
  }

  /// A routed expert sees a part of the tokens only: what belongs to tokens cannot be lined up with its inputs.
  void check_blocks(const model::Model& model) const {
    if (!objective_.token_weights && !objective_.corrects()) return;
    for (const model::DecoderBlock& block : model.blocks) {
      if (block.moe.empty()) continue;
      throw ConfigError(
          fmt::format("objective: got token_weights, mismatch or residual for {}, a mixture of experts, need "
                      "token_weights: false, mismatch: 0 and residual: 0 there",
                      block.name));
    }
  }

  bool tunes() const { return finetuner_->is_active() || stage_finetuner_->is_active(); }

  /// Whether moments of a stage can go on from where the stage before ended: fine-tuning would have changed what lies
  /// before, and experts have stages that no order of steps fits.
  bool in_steps(const model::DecoderBlock& block) const {
    return block.moe.empty() && !stage_finetuner_->is_active() && !is_plain();
  }

  /// Quantises and fine-tunes on the walk's own statistics, which trials can share.
  void quantise_plain(BlockWalk& walk, BlockJob& job, const model::DecoderBlock& original, Context& context) const {
    const BlockStatistics& statistics = walk.statistics();
    job.targets = statistics.outputs;
    for (model::Linear* linear : job.block.linears()) {
      quantise_linear(*linear, job, {statistics.xtx.at(linear->role), {}}, original, context);
    }
    finetune(*finetuner_, job, "", context);
    round_block(job.block);
  }

  /// Quantises and fine-tunes.
  void quantise_block(BlockJob& job, BlockMoments& moments, const model::DecoderBlock& original,
                      Context& context) const {
    std::vector<Stages> passes;  // stages whose moments are collected before any of their linears is quantised
    for (const auto& stage : job.block.stages()) {
      if (objective_.stages || passes.empty()) passes.emplace_back();
      passes.back().push_back(stage);
    }
    const bool from_block = tunes() && !objective_.float_targets;  // targets are those of the block, still unquantised
    if (from_block && objective_.stages) {
      const StageTimes::Scope scope(context.times, "forward");
      job.targets = run_block(job.block, job.rotary, job.inputs);
    }
    if (stage_finetuner_->is_active()) own_dense_weights(job.block);
    if (!tunes()) round_block(job.block);  // norms and biases as the next block will meet them
    size_t first_stage = 0;
    for (size_t pass = 0; pass < passes.size(); ++pass) {
      const std::map<std::string, Moments> of_pass = moments.collect(passes[pass], first_stage);
      first_stage += passes[pass].size();
      if (from_block && !objective_.stages) job.targets = moments.outputs();
      for (const auto& stage : passes[pass]) {
        for (model::Linear* linear : stage) {
          quantise_linear(*linear, job, of_pass.at(linear->role), original, context);
          if (!tunes()) linear->weight->round_to_storage();
        }
      }
      if (objective_.float_targets) job.targets = moments.float_outputs();
      if (pass + 1 < passes.size()) finetune(*stage_finetuner_, job, "stage " + std::to_string(pass), context);
    }
    finetune(*finetuner_, job, "", context);
    round_block(job.block);
  }

  std::map<std::string, size_t> allocate(const model::Model& model, const Calibration& calibration,
                                         Context& context) const {
    const auto make = [&](const quant::LayerProblem& problem, size_t c) -> std::shared_ptr<quant::Weight> {
      Rng rng = context.rng.fork(fmt::format("allocation {} {}", problem.name, c));
      StageTimes unused;
      AdditiveResult result = quantiser_.quantise(problem, allocation_choices_[c], allocation_steps_, rng, unused);
      result.weight->round_to_storage();
      return result.weight;
    };
    return allocate_linears(model, calibration, context, allocation_choices_.size(), *target_bits_, make);
  }

  void quantise_linear(model::Linear& linear, const BlockJob& job, const Moments& moments,
                       const model::DecoderBlock& original, Context& context) const {
    const Stopwatch watch;
    quant::LayerProblem problem;
    {
      const StageTimes::Scope scope(context.times, "objective");
      problem = make_problem(linear.weight->dequantise().detach(), moments, objective_, linear.name);
    }
    Rng rng = context.rng.fork(linear.name);
    const auto choice = job.choices->find(linear.name);
    const quant::CodeSpec& spec =
        choice == job.choices->end() ? quantiser_.spec() : allocation_choices_[choice->second];
    AdditiveResult result = quantiser_.quantise(problem, spec, quantiser_.steps(), rng, context.times);
    linear.weight = result.weight;
    at::Tensor reference;  // the linear as the model came, before any fine-tuning of dense weights
    for (const model::Linear* other : original.linears()) {
      if (other->role == linear.role) reference = other->weight->dequantise().detach();
    }
    report_layer(context, linear, job.index, reference, moments.xtx, watch.elapsed_s());
    auto& metrics = context.layers.back().metrics;
    metrics["rounds"] = static_cast<double>(result.num_rounds);
    metrics["objective"] = result.losses.back();
    context.curves.push_back({LossCurve::Of::kQuantiser, linear.name, result.losses});
    metrics["unused_codewords"] = static_cast<double>(result.weight->num_unused_codewords());
    metrics.merge(result.metrics);
    log_debug("{}: relative output error {:.5f}, {} rounds, {:.1f} s", linear.name, metrics["rel_output_error"],
              result.num_rounds, watch.elapsed_s());
  }

  /// Fine-tuning changes weights in place: those of the original model must not be among them.
  static void own_dense_weights(model::DecoderBlock& block) {
    for (model::Linear* linear : block.linears()) {
      linear->weight = std::make_shared<quant::DenseWeight>(linear->weight->dequantise().detach().clone());
    }
  }

  static void finetune(const finetune::BlockFinetuner& finetuner, const BlockJob& job, const std::string& stage,
                       Context& context) {
    if (!finetuner.is_active()) return;
    const StageTimes::Scope scope(context.times, "finetune");
    finetune::BlockTask task;
    task.name = fmt::format("block {}{}{}", job.index, stage.empty() ? "" : " ", stage);
    task.forward = [&](const at::Tensor& x) { return job.block.forward(x, job.rotary); };
    task.inputs = job.inputs;
    task.targets = job.targets;
    task.parameters = job.block.dense_parameters();
    for (model::Linear* linear : job.block.linears()) {
      for (const at::Tensor& parameter : linear->weight->parameters()) task.parameters.push_back(parameter);
    }
    Rng rng = context.rng.fork("finetune " + job.block.name + stage);
    const finetune::BlockReport report = finetuner.finetune(task, rng);
    if (!report.epoch_losses.empty()) {
      context.curves.push_back({LossCurve::Of::kFinetuner, job.block.name, report.epoch_losses});
    }
    log_info("{}: fine-tuning lowered the squared error from {:.6f} to {:.6f}", task.name, report.loss_before,
             report.loss_after);
  }

  static void round_block(model::DecoderBlock& block) {
    const c10::NoGradGuard no_grad;
    for (at::Tensor& parameter : block.dense_parameters()) parameter.copy_(parameter.to(at::kHalf));
    for (model::Linear* linear : block.linears()) linear->weight->round_to_storage();
  }

  AdditiveQuantiser quantiser_;
  ObjectiveOptions objective_;
  std::unique_ptr<finetune::BlockFinetuner> finetuner_, stage_finetuner_;
  std::optional<double> target_bits_;
  std::vector<quant::CodeSpec> allocation_choices_;
  std::vector<ScheduleStep> allocation_steps_;
};

}  // namespace

void register_aqlm(MethodRegistry& registry) {
  registry.add("aqlm", "additive quantisation, arXiv:2401.06118",
               [](config::Reader& root) { return std::make_unique<Aqlm>(root); });
}

}  // namespace aqlm_exp::method
