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
  const at::Tensor& inputs;                                // [num_samples, seq_len, hidden]
  const FloatActivations& float_side;                      // undefined tensors where not needed
  const RoleWeights* weights = nullptr;                    // token weights, or none
  at::Tensor targets;                                      // of fine-tuning
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
      weights = token_weights(original, calibration, objective_.token_weight_clip, context.cache);
    }
    std::map<std::string, size_t> choices;
    if (target_bits_) choices = allocate(original, calibration, context);
    FloatActivations float_side;
    float_side.outputs = objective_.needs_float_model() ? embed_calibration(original, calibration) : at::Tensor();
    int64_t float_blocks = 0;  // of the original model that float_side.outputs went through
    for (BlockWalk walk(model, calibration, context); !walk.done(); walk.advance()) {
      if (calibration.original_activations) walk.statistics();  // the walk goes on from their outputs
      if (objective_.needs_float_model()) {
        const StageTimes::Scope scope(context.times, "float_forward");
        for (; float_blocks <= walk.index(); ++float_blocks) {  // several after a restart
          float_side = float_activations(*model.rotary, original.blocks[static_cast<size_t>(float_blocks)],
                                         float_side.outputs, objective_.corrects() && float_blocks == walk.index());
        }
      }
      BlockJob job{walk.index(), walk.block(), *model.rotary, walk.inputs(), float_side, nullptr, {}};
      job.choices = &choices;
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
          quantise_linear(*linear, job, moments.at(linear->role), original, context);
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
    const auto weights_of = [&](const std::string& role, int64_t sample, int64_t count) {
      if (job.weights == nullptr) return at::Tensor();
      return job.weights->at(role).weights.slice(0, sample, sample + count);
    };
    const bool has_down = corrects_stream(job) && stages.back().front() == &job.block.down_proj;
    at::Tensor down_inputs;  // of the batch on its way
    const auto see = [&](size_t stage, int64_t sample, const at::Tensor& x) {
      const model::Linear* first = stages[stage].front();
      if (corrects_stream(job) && first == &job.block.o_proj) {
        const int64_t end = sample + x.size(0);
        sums[first->role].add_residual(x,
                                       job.float_side.inputs.slice(0, sample, end) - job.inputs.slice(0, sample, end),
                                       weights_of(first->role, sample, x.size(0)));
      }
      if (has_down && first == &job.block.down_proj) down_inputs = x;
      at::Tensor float_x;
      if (objective_.corrects()) {
        float_x = job.float_side.stage_inputs[first_stage + stage].slice(0, sample, sample + x.size(0));
      }
      if (job.weights == nullptr) {
        sums[stages[stage].front()->role].add(x, float_x);
        return;
      }
      for (const model::Linear* linear : stages[stage]) {
        sums[linear->role].add(x, float_x, weights_of(linear->role, sample, x.size(0)));
      }
    };
    // With down_proj still unquantised, what the block's output lacks is the error of the stream and of down's inputs.
    const auto see_outputs = [&](int64_t sample, const at::Tensor& out) {
      if (!has_down) return;
      const std::string& role = job.block.down_proj.role;
      sums[role].add_residual(down_inputs, job.float_side.outputs.slice(0, sample, sample + out.size(0)) - out,
                              weights_of(role, sample, out.size(0)));
    };
    const bool wants_targets = tunes && !job.targets.defined();
    const at::Tensor outputs =
        stream_stage_inputs(job.rotary, job.block, job.inputs, stages, wants_targets || has_down, see, see_outputs);
    if (wants_targets) job.targets = outputs;
    std::map<std::string, Moments> moments;
    for (const auto& stage : stages) {
      const Moments shared = sums.at(stage.front()->role).mean();
      for (const model::Linear* linear : stage) {
        moments[linear->role] = job.weights == nullptr ? shared : sums.at(linear->role).mean();
      }
    }
    if (has_down) {  // leaves the error of the stream alone
      Moments& down = moments.at(job.block.down_proj.role);
      down.residual =
          down.residual - at::matmul(job.block.down_proj.weight->dequantise().detach().to(at::kDouble), down.mismatch);
    }
    return moments;
  }

  /// Norms behind attention and MLP (Gemma-2) stand between these linears and the stream: no correction there.
  bool corrects_stream(const BlockJob& job) const {
    return objective_.residual > 0.0 && !job.block.has_sandwich_norms();
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
