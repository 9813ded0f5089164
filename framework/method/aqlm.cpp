// AQLM, whole: block by block on inputs from the already quantised blocks; every linear to an additive code under its
// objective; then block fine-tuning. Source: AQLM, arXiv:2401.06118, and the reference implementation's main loop, which
// `objective` at its defaults is. Beyond the reference: stages on inputs collected afresh, token weights, targets that
// correct for the inputs' errors (objective.h), and fine-tuning of the whole block, its still dense linears included,
// after each stage.
// Floats are rounded to fp16, their stored form, when a block is finished and before it feeds the next one; the reference
// rounds to the model's own dtype there.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/finetune/block_finetuner.h"
#include "framework/method/additive_quantiser.h"
#include "framework/method/block_loop.h"
#include "framework/method/method.h"
#include "framework/method/objective.h"
#include "framework/method/stage_inputs.h"
#include "framework/method/token_weights.h"

namespace aqlm_exp::method {
namespace {

using RoleWeights = std::map<std::string, TokenWeights>;

/// One block on its way: what it gets, what it should give.
struct BlockJob {
  int64_t index = 0;
  model::DecoderBlock& block;
  const model::RotaryEmbedding& rotary;
  const at::Tensor& inputs;              // [num_samples, seq_len, hidden]
  const FloatActivations& float_side;    // undefined tensors where not needed
  const RoleWeights* weights = nullptr;  // token weights, or none
  at::Tensor targets;                    // of fine-tuning
};

class Aqlm final : public Method {
 public:
  explicit Aqlm(config::Reader& root) : quantiser_(root), objective_(read_objective(root)) {
    finetuner_ = root.component("finetune", finetune::block_finetuners(), "trains a quantised block", "none");
    stage_finetuner_ = root.component("stage_finetune", finetune::block_finetuners(),
                                      "trains the whole block after each stage but the last", "none");
    if (!root.describing() && stage_finetuner_->is_active() && !objective_.stages) {
      throw ConfigError(
          "stage_finetune: got a fine-tuner with objective.stages false, need objective.stages: true or "
          "stage_finetune: none");
    }
  }

  std::string setting() const override { return quantiser_.spec().str(); }
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
      weights = token_weights(original, calibration, objective_.token_weight_clip, context.cache);
    }
    FloatActivations float_side;
    float_side.outputs = objective_.needs_float_model() ? embed_calibration(original, calibration) : at::Tensor();
    int64_t float_blocks = 0;  // of the original model that float_side.outputs went through
    for (BlockWalk walk(model, calibration, context); !walk.done(); walk.advance()) {
      if (calibration.original_activations) walk.statistics();  // the walk goes on from their outputs
      if (objective_.needs_float_model()) {
        const StageTimes::Scope scope(context.times, "float_forward");
        for (; float_blocks <= walk.index(); ++float_blocks) {  // several after a restart
          float_side = float_activations(*model.rotary, original.blocks[static_cast<size_t>(float_blocks)],
                                         float_side.outputs, objective_.mismatch > 0.0 && float_blocks == walk.index());
        }
      }
      BlockJob job{walk.index(), walk.block(), *model.rotary, walk.inputs(), float_side, nullptr, {}};
      if (!weights.empty()) job.weights = &weights[static_cast<size_t>(walk.index())];
      if (objective_.float_targets) job.targets = float_side.outputs;
      quantise_block(walk, job, original.blocks[static_cast<size_t>(walk.index())], context);
      round_block(walk.block());
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
  bool is_plain() const {
    return !objective_.stages && !objective_.token_weights && objective_.mismatch == 0.0 && !objective_.float_targets;
  }

  /// A routed expert sees a part of the tokens only: what belongs to tokens cannot be lined up with its inputs.
  void check_blocks(const model::Model& model) const {
    if (!objective_.token_weights && objective_.mismatch == 0.0) return;
    for (const model::DecoderBlock& block : model.blocks) {
      if (block.moe.empty()) continue;
      throw ConfigError(
          fmt::format("objective: got token_weights or mismatch for {}, a mixture of experts, need token_weights: false "
                      "and mismatch: 0 there",
                      block.name));
    }
  }

  /// Quantises and fine-tunes.
  void quantise_block(BlockWalk& walk, BlockJob& job, const model::DecoderBlock& original, Context& context) const {
    std::vector<Stages> passes;  // stages whose moments come from one forward pass
    for (const auto& stage : job.block.stages()) {
      if (objective_.stages || passes.empty()) passes.emplace_back();
      passes.back().push_back(stage);
    }
    const bool tunes = finetuner_->is_active() || stage_finetuner_->is_active();
    if (tunes && !job.targets.defined() && objective_.stages) {
      const StageTimes::Scope scope(context.times, "forward");
      job.targets = run_block(job.block, job.rotary, job.inputs);  // still unquantised
    }
    if (stage_finetuner_->is_active()) own_dense_weights(job.block);
    size_t first_stage = 0;
    for (size_t pass = 0; pass < passes.size(); ++pass) {
      const std::map<std::string, Moments> moments =
          is_plain() ? plain_moments(walk, job) : collect(job, passes[pass], first_stage, tunes, context);
      first_stage += passes[pass].size();
      for (const auto& stage : passes[pass]) {
        for (model::Linear* linear : stage) {
          quantise_linear(*linear, job.index, moments.at(linear->role), original, context);
        }
      }
      if (pass + 1 < passes.size()) finetune(*stage_finetuner_, job, "stage " + std::to_string(pass), context);
    }
    finetune(*finetuner_, job, "", context);
  }

  /// The walk's own statistics, which trials can share.
  static std::map<std::string, Moments> plain_moments(BlockWalk& walk, BlockJob& job) {
    const BlockStatistics& statistics = walk.statistics();
    job.targets = statistics.outputs;
    std::map<std::string, Moments> moments;
    for (const auto& [role, xtx] : statistics.xtx) moments[role] = {xtx, {}};
    return moments;
  }

  /// Moments of the inputs of `stages`, by role; without stages of their own also the fine-tuning targets, in one pass.
  std::map<std::string, Moments> collect(BlockJob& job, const Stages& stages, size_t first_stage, bool tunes,
                                         Context& context) const {
    const StageTimes::Scope scope(context.times, "xtx");
    std::map<std::string, MomentAccumulator> sums;  // by role; linears that share input and weights: by the first's
    const auto see = [&](size_t stage, int64_t sample, const at::Tensor& x) {
      at::Tensor float_x;
      if (objective_.mismatch > 0.0) {
        float_x = job.float_side.stage_inputs[first_stage + stage].slice(0, sample, sample + x.size(0));
      }
      if (job.weights == nullptr) {
        sums[stages[stage].front()->role].add(x, float_x);
        return;
      }
      for (const model::Linear* linear : stages[stage]) {
        sums[linear->role].add(x, float_x,
                               job.weights->at(linear->role).weights.slice(0, sample, sample + x.size(0)));
      }
    };
    const bool want_outputs = tunes && !job.targets.defined();
    const at::Tensor outputs =
        stream_stage_inputs(job.rotary, job.block, job.inputs, stages, want_outputs, see);
    if (want_outputs) job.targets = outputs;
    std::map<std::string, Moments> moments;
    for (const auto& stage : stages) {
      const Moments shared = sums.at(stage.front()->role).mean();
      for (const model::Linear* linear : stage) {
        moments[linear->role] = job.weights == nullptr ? shared : sums.at(linear->role).mean();
      }
    }
    return moments;
  }

  void quantise_linear(model::Linear& linear, int64_t index, const Moments& moments,
                       const model::DecoderBlock& original, Context& context) const {
    const Stopwatch watch;
    quant::LayerProblem problem;
    {
      const StageTimes::Scope scope(context.times, "objective");
      problem = make_problem(linear.weight->dequantise().detach(), moments, objective_, linear.name);
    }
    Rng rng = context.rng.fork(linear.name);
    AdditiveResult result = quantiser_.quantise(problem, rng, context.times);
    linear.weight = result.weight;
    at::Tensor reference;  // the linear as the model came, before any fine-tuning of dense weights
    for (const model::Linear* other : original.linears()) {
      if (other->role == linear.role) reference = other->weight->dequantise().detach();
    }
    report_layer(context, linear, index, reference, moments.xtx, watch.elapsed_s());
    auto& metrics = context.layers.back().metrics;
    metrics["rounds"] = static_cast<double>(result.num_rounds);
    metrics["objective"] = result.losses.back();
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
};

}  // namespace

void register_aqlm(MethodRegistry& registry) {
  registry.add("aqlm", "additive quantisation, arXiv:2401.06118",
               [](config::Reader& root) { return std::make_unique<Aqlm>(root); });
}

}  // namespace aqlm_exp::method
