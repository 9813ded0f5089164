#include "framework/method/block_moments.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

namespace aqlm_exp::method {

/// Sums by linear. Linears of a stage whose tokens weigh the same share theirs.
class BlockMoments::Sums {
 public:
  Sums(const Stages& stages, const RoleWeights* weights) : weights_(weights) {
    for (const auto& stage : stages) {
      for (const model::Linear* linear : stage) {
        std::string& representative = shared_with_[linear->role];
        representative = linear->role;
        for (const model::Linear* other : stage) {
          if (other == linear) break;
          if (weights != nullptr && !weights->at(other->role).weights.is_same(weights->at(linear->role).weights)) {
            continue;
          }
          representative = shared_with_.at(other->role);
          break;
        }
      }
    }
  }

  /// @param x, float_x of `count` samples from `sample` on, read by all linears of `stage`
  void add(const std::vector<model::Linear*>& stage, int64_t sample, const at::Tensor& x, const at::Tensor& float_x) {
    for (const model::Linear* linear : stage) {
      if (shared_with_.at(linear->role) != linear->role) continue;
      sums_[linear->role].add(x, float_x, weights_of(linear->role, sample, x.size(0)));
    }
  }

  void add_residual(const std::string& role, int64_t sample, const at::Tensor& x, const at::Tensor& error) {
    sums_[role].add_residual(x, error, weights_of(role, sample, x.size(0)));
  }

  std::map<std::string, Moments> mean() const {
    std::map<std::string, Moments> means, moments;
    for (const auto& [role, sum] : sums_) means[role] = sum.mean();
    for (const auto& [role, representative] : shared_with_) moments[role] = means[representative];
    return moments;
  }

 private:
  at::Tensor weights_of(const std::string& role, int64_t sample, int64_t count) const {
    if (weights_ == nullptr) return {};
    return weights_->at(role).weights.slice(0, sample, sample + count);
  }

  const RoleWeights* weights_;
  std::map<std::string, std::string> shared_with_;  // role → role under which its sums are kept
  std::map<std::string, MomentAccumulator> sums_;
};

BlockMoments::BlockMoments(BlockPair pair, const ObjectiveOptions& options, const RoleWeights* weights, bool in_steps,
                           StageTimes& times)
    : pair_(std::move(pair)), options_(options), weights_(weights), times_(times) {
  if (in_steps) own_.emplace(pair_.block, pair_.rotary, pair_.inputs, options.pass_dtype);
  if (!pair_.float_inputs.defined()) return;
  if (in_steps && options.corrects()) {
    float_side_.outputs = at::empty_like(pair_.float_inputs);
    floating_.emplace(pair_.float_block, pair_.rotary, pair_.float_inputs, options.pass_dtype);
    return;
  }
  const StageTimes::Scope scope(times, "float_forward");
  float_side_ = float_activations(pair_.rotary, pair_.float_block, pair_.float_inputs, options.corrects());
}

std::map<std::string, Moments> BlockMoments::collect(const Stages& stages, size_t first_stage) {
  Sums sums(stages, weights_);
  if (own_) {
    collect_in_steps(stages, first_stage, sums);
  } else {
    collect_from_inputs(stages, first_stage, sums);
  }
  std::map<std::string, Moments> moments = sums.mean();
  if (corrects_stream() && stages.back().front() == &pair_.block.down_proj) {  // leaves the error of the stream alone
    Moments& down = moments.at(pair_.block.down_proj.role);
    down.residual =
        down.residual - at::matmul(pair_.block.down_proj.weight->dequantise().detach().to(at::kDouble), down.mismatch);
  }
  return moments;
}

void BlockMoments::collect_in_steps(const Stages& stages, size_t first_stage, Sums& sums) {
  const int64_t num_samples = pair_.inputs.size(0), step = own_->step();
  for (size_t i = 0; i < stages.size(); ++i) {
    const size_t stage = first_stage + i;
    const bool is_o = stages[i].front() == &pair_.block.o_proj, is_down = stages[i].front() == &pair_.block.down_proj;
    for (int64_t begin = 0; begin < num_samples; begin += step) {
      const int64_t end = std::min(num_samples, begin + step);
      at::Tensor x, float_x, error;  // error: of the stream that the linear adds to
      {
        const StageTimes::Scope scope(times_, "forward");
        x = own_->stage_inputs(stage, begin, end);
        if (is_o && corrects_stream()) {
          error = pair_.float_inputs.slice(0, begin, end) - pair_.inputs.slice(0, begin, end);
        }
        // With down_proj still unquantised, what the block's output lacks is the error of the stream and of down's
        // inputs.
        if (is_down && corrects_stream()) error = own_->outputs(begin, end);
      }
      if (floating_) {
        const StageTimes::Scope scope(times_, "float_forward");
        float_x = floating_->stage_inputs(stage, begin, end);
        if (is_down) float_side_.outputs.slice(0, begin, end).copy_(floating_->outputs(begin, end));
        if (is_down && error.defined()) error = float_side_.outputs.slice(0, begin, end) - error;
      }
      const StageTimes::Scope scope(times_, "xtx");
      sums.add(stages[i], begin, x, float_x);
      if (error.defined()) sums.add_residual(stages[i].front()->role, begin, x, error);
    }
    if (stage + 1 == StagedPass::kNumStages) floating_.reset();  // its activations are not needed any longer
  }
}

void BlockMoments::collect_from_inputs(const Stages& stages, size_t first_stage, Sums& sums) {
  const StageTimes::Scope scope(times_, "xtx");
  const bool has_down = corrects_stream() && stages.back().front() == &pair_.block.down_proj;
  at::Tensor down_inputs;  // of the batch on its way
  const auto see = [&](size_t stage, int64_t sample, const at::Tensor& x) {
    const model::Linear* first = stages[stage].front();
    const int64_t end = sample + x.size(0);
    at::Tensor float_x;
    if (options_.corrects()) float_x = float_side_.stage_inputs[first_stage + stage].slice(0, sample, end);
    sums.add(stages[stage], sample, x, float_x);
    if (corrects_stream() && first == &pair_.block.o_proj) {
      sums.add_residual(first->role, sample, x,
                        pair_.float_inputs.slice(0, sample, end) - pair_.inputs.slice(0, sample, end));
    }
    if (has_down && first == &pair_.block.down_proj) down_inputs = x;
  };
  const auto see_outputs = [&](int64_t sample, const at::Tensor& out) {
    if (!has_down) return;
    sums.add_residual(pair_.block.down_proj.role, sample, down_inputs,
                      float_side_.outputs.slice(0, sample, sample + out.size(0)) - out);
  };
  stream_stage_inputs(pair_.rotary, pair_.block, pair_.inputs, stages, has_down, see, see_outputs);
}

at::Tensor BlockMoments::outputs() {
  const StageTimes::Scope scope(times_, "forward");
  return own_ ? own_->outputs() : run_block(pair_.block, pair_.rotary, pair_.inputs);
}

}  // namespace aqlm_exp::method
