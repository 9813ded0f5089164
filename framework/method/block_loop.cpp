#include "framework/method/block_loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/method/block_state.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;  // in one forward pass of a block: bounds the memory of attention and MLP

int64_t samples_at_a_time(const at::Tensor& inputs) { return std::max<int64_t>(1, kTokensAtATime / inputs.size(1)); }

/// Mean of |x|, second moments and every stride-th token of what the linears of a stage are given.
class StageObserver {
 public:
  explicit StageObserver(int64_t stride) : stride_(stride) {}

  void add(const at::Tensor& x) {
    const c10::NoGradGuard no_grad;
    const at::Tensor tokens = x.reshape({-1, x.size(-1)});
    const at::Tensor sum = tokens.abs().sum(0, /*keepdim=*/false, at::kDouble);
    sum_abs_ = sum_abs_.defined() ? sum_abs_ + sum : sum;
    const int64_t first = (stride_ - num_tokens_ % stride_) % stride_;  // the next token whose index stride_ divides
    if (first < tokens.size(0)) sample_.push_back(tokens.slice(0, first, tokens.size(0), stride_).clone());
    num_tokens_ += tokens.size(0);
    xtx_.add(tokens);
  }
  at::Tensor xtx() const { return xtx_.mean(); }
  at::Tensor mean_abs() const { return (sum_abs_ / static_cast<double>(num_tokens_)).to(at::kFloat); }
  at::Tensor sample() const { return at::cat(sample_, 0); }

 private:
  int64_t stride_, num_tokens_ = 0;
  at::Tensor sum_abs_;  // [in_features] float64
  std::vector<at::Tensor> sample_;
  XtxAccumulator xtx_;
};

std::vector<std::shared_ptr<quant::Weight>> weights_of(model::DecoderBlock& block) {
  std::vector<std::shared_ptr<quant::Weight>> weights;
  for (const model::Linear* linear : block.linears()) weights.push_back(linear->weight);
  return weights;
}

TensorMap as_tensors(const BlockStatistics& statistics, const Stages& stages) {
  TensorMap tensors = {{"outputs", statistics.outputs}};
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::string& role = stages[i].front()->role;
    tensors[fmt::format("xtx.{}", i)] = statistics.xtx.at(role);
    tensors[fmt::format("mean_abs.{}", i)] = statistics.mean_abs.at(role);
    tensors[fmt::format("sample.{}", i)] = statistics.sample.at(role);
  }
  return tensors;
}

BlockStatistics from_tensors(const TensorMap& tensors, const Stages& stages) {
  BlockStatistics statistics;
  statistics.outputs = tensors.at("outputs");
  for (size_t i = 0; i < stages.size(); ++i) {
    for (const model::Linear* linear : stages[i]) {
      statistics.xtx[linear->role] = tensors.at(fmt::format("xtx.{}", i));
      statistics.mean_abs[linear->role] = tensors.at(fmt::format("mean_abs.{}", i));
      statistics.sample[linear->role] = tensors.at(fmt::format("sample.{}", i));
    }
  }
  return statistics;
}

}  // namespace

at::Tensor embed_calibration(const model::Model& model, const Calibration& calibration) {
  const c10::NoGradGuard no_grad;
  return model.embed(calibration.input_ids.to(model.device()));
}

at::Tensor run_block(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, const at::Tensor& inputs) {
  const c10::NoGradGuard no_grad;
  at::Tensor outputs = at::empty_like(inputs);
  const int64_t step = samples_at_a_time(inputs);
  for (int64_t start = 0; start < inputs.size(0); start += step) {
    const int64_t end = std::min(inputs.size(0), start + step);
    outputs.slice(0, start, end).copy_(block.forward(inputs.slice(0, start, end), rotary));
  }
  return outputs;
}

void XtxAccumulator::add(const at::Tensor& x) {
  const c10::NoGradGuard no_grad;
  const at::Tensor tokens = x.reshape({-1, x.size(-1)});
  if (!sum_.defined()) sum_ = at::zeros({x.size(-1), x.size(-1)}, x.options().dtype(at::kDouble));
  for (int64_t start = 0; start < tokens.size(0); start += kTokensAtATime) {
    const at::Tensor part = tokens.slice(0, start, std::min(tokens.size(0), start + kTokensAtATime));
    sum_.add_(at::matmul(part.t(), part));
  }
  num_tokens_ += tokens.size(0);
}

at::Tensor XtxAccumulator::mean() const {
  return sum_.defined() ? sum_ / static_cast<double>(num_tokens_) : at::Tensor();
}

BlockStatistics collect_statistics(model::DecoderBlock& block, const model::RotaryEmbedding& rotary,
                                   const at::Tensor& inputs, const Stages& stages) {
  std::vector<XtxAccumulator> accumulators(stages.size());
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = [&accumulators, i](const at::Tensor& x) { accumulators[i].add(x); };
  }
  BlockStatistics statistics;
  statistics.outputs = run_block(block, rotary, inputs);
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = nullptr;
    const at::Tensor xtx = accumulators[i].mean();
    for (const model::Linear* linear : stages[i]) statistics.xtx[linear->role] = xtx;
  }
  return statistics;
}

BlockStatistics collect_full_statistics(model::DecoderBlock& block, const model::RotaryEmbedding& rotary,
                                        const at::Tensor& inputs, int64_t stride) {
  const Stages stages = block.stages();
  std::vector<StageObserver> observers(stages.size(), StageObserver(stride));
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = [&observers, i](const at::Tensor& x) { observers[i].add(x); };
  }
  BlockStatistics statistics;
  statistics.outputs = run_block(block, rotary, inputs);
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = nullptr;
    const at::Tensor xtx = observers[i].xtx(), mean_abs = observers[i].mean_abs(), sample = observers[i].sample();
    for (const model::Linear* linear : stages[i]) {
      statistics.xtx[linear->role] = xtx;
      statistics.mean_abs[linear->role] = mean_abs;
      statistics.sample[linear->role] = sample;
    }
  }
  return statistics;
}

BlockWalk::BlockWalk(model::Model& model, const Calibration& calibration, Context& context, WalkOptions options)
    : model_(model),
      context_(context),
      options_(options),
      num_blocks_(static_cast<int64_t>(model.blocks.size())),
      inputs_(embed_calibration(model, calibration)),
      num_reported_(context.layers.size()) {
  options_.original_inputs = options.original_inputs || calibration.original_activations;
  restore();
}

void BlockWalk::restore() {
  if (!done()) before_ = weights_of(block());
  if (context_.checkpoints == nullptr) return;
  while (!done()) {
    const auto stored = context_.checkpoints->load(index_, model_.device());
    if (!stored) break;
    if (options_.original_inputs) statistics();  // while the block still is what it was
    if (!restore_block(*stored, block(), index_, context_)) break;
    ++context_.blocks_restored;
    step();
  }
  if (context_.blocks_restored > 0) {
    log_info("{} of {} blocks were finished by an earlier attempt", context_.blocks_restored, num_blocks_);
  }
}

const BlockStatistics& BlockWalk::statistics(const Stages& stages) {
  if (statistics_) return *statistics_;
  const StageTimes::Scope scope(context_.times, "xtx");
  if (!inputs_are_original_) {
    ++context_.passes.own;
    statistics_ = collect_statistics(block(), *model_.rotary, inputs_, stages.empty() ? block().stages() : stages);
    return *statistics_;
  }
  const int64_t stride = std::max<int64_t>(1, inputs_.size(0) * inputs_.size(1) / options_.sample_tokens);
  const auto make = [&] {
    ++context_.passes.computed;
    return collect_full_statistics(block(), *model_.rotary, inputs_, stride);
  };
  if (context_.cache == nullptr) {
    statistics_ = make();
    return *statistics_;
  }
  const Stages all = block().stages();
  const auto found = context_.cache->get(fmt::format("block {} stride {}", index_, stride), model_.device(),
                                         [&] { return as_tensors(make(), all); });
  context_.passes.shared += found.shared;
  statistics_ = from_tensors(found.tensors, all);
  return *statistics_;
}

BlockStatistics BlockWalk::statistics_now(const Stages& stages) {
  const StageTimes::Scope scope(context_.times, "xtx");
  ++context_.passes.own;
  return collect_statistics(block(), *model_.rotary, inputs_, stages);
}

void BlockWalk::advance() {
  if (context_.checkpoints != nullptr) {
    if (auto state = save_block(block(), before_, index_, context_, num_reported_)) {
      context_.checkpoints->save(index_, std::move(*state));
    }
  }
  step();
}

/// To the next block, whose inputs follow from the current one.
void BlockWalk::step() {
  report_progress("quantise", index_ + 1, num_blocks_);
  num_reported_ = context_.layers.size();
  if (index_ + 1 < num_blocks_) {
    if (options_.original_inputs) {
      if (!statistics_) throw InternalError("[block walk] a block was left without having asked for its statistics");
      inputs_ = statistics_->outputs;
    } else {
      const StageTimes::Scope scope(context_.times, "forward");
      ++context_.passes.own;
      inputs_ = run_block(block(), *model_.rotary, inputs_);
      inputs_are_original_ = false;
    }
  }
  statistics_.reset();
  ++index_;
  if (!done()) before_ = weights_of(block());
}

}  // namespace aqlm_exp::method
