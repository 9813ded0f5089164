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
  int64_t num_tokens() const { return num_tokens_; }

 private:
  int64_t stride_, num_tokens_ = 0;
  at::Tensor sum_abs_;  // [in_features] float64
  std::vector<at::Tensor> sample_;
  XtxAccumulator xtx_;
};

/// Shows experts every token as long as it lives, where that is asked for.
class ShowAllTokens {
 public:
  ShowAllTokens(model::DecoderBlock& block, bool wanted) : block_(block) { block_.moe.show_all_tokens = wanted; }
  ~ShowAllTokens() { block_.moe.show_all_tokens = false; }
  ShowAllTokens(const ShowAllTokens&) = delete;
  ShowAllTokens& operator=(const ShowAllTokens&) = delete;

 private:
  model::DecoderBlock& block_;
};

/// In place of statistics of too few tokens.
at::Tensor identity_for(const model::Linear& linear, const at::Tensor& like) {
  return at::eye(linear.weight->in_features(), like.options().dtype(at::kDouble));
}

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
    tensors[fmt::format("num_tokens.{}", i)] = at::full({1}, statistics.num_tokens.at(role), at::kLong);
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
      statistics.num_tokens[linear->role] = tensors.at(fmt::format("num_tokens.{}", i)).item<int64_t>();
    }
  }
  return statistics;
}

}  // namespace

int64_t tokens_needed(const std::string& role, const ExpertCalibration& experts) {
  return role.starts_with("experts.") ? std::max<int64_t>(1, experts.min_tokens) : 1;
}

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
                                   const at::Tensor& inputs, const Stages& stages, const ExpertCalibration& experts) {
  const ShowAllTokens show(block, experts.all_tokens);
  std::vector<XtxAccumulator> accumulators(stages.size());
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = [&accumulators, i](const at::Tensor& x) { accumulators[i].add(x); };
  }
  BlockStatistics statistics;
  statistics.outputs = run_block(block, rotary, inputs);
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = nullptr;
    const bool enough = accumulators[i].num_tokens() >= tokens_needed(stages[i].front()->role, experts);
    const at::Tensor xtx = enough ? accumulators[i].mean() : identity_for(*stages[i].front(), inputs);
    for (const model::Linear* linear : stages[i]) {
      statistics.xtx[linear->role] = xtx;
      statistics.num_tokens[linear->role] = accumulators[i].num_tokens();
    }
  }
  return statistics;
}

BlockStatistics collect_full_statistics(model::DecoderBlock& block, const model::RotaryEmbedding& rotary,
                                        const at::Tensor& inputs, int64_t stride, const ExpertCalibration& experts) {
  const ShowAllTokens show(block, experts.all_tokens);
  const Stages stages = block.stages();
  std::vector<StageObserver> observers(stages.size(), StageObserver(stride));
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = [&observers, i](const at::Tensor& x) { observers[i].add(x); };
  }
  BlockStatistics statistics;
  statistics.outputs = run_block(block, rotary, inputs);
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = nullptr;
    const bool enough = observers[i].num_tokens() >= tokens_needed(stages[i].front()->role, experts);
    const int64_t columns = stages[i].front()->weight->in_features();
    const at::Tensor xtx = enough ? observers[i].xtx() : identity_for(*stages[i].front(), inputs);
    const at::Tensor mean_abs = enough ? observers[i].mean_abs() : at::ones({columns}, inputs.options());
    const at::Tensor sample = enough ? observers[i].sample() : at::eye(columns, inputs.options());
    for (const model::Linear* linear : stages[i]) {
      statistics.xtx[linear->role] = xtx;
      statistics.mean_abs[linear->role] = mean_abs;
      statistics.sample[linear->role] = sample;
      statistics.num_tokens[linear->role] = observers[i].num_tokens();
    }
  }
  return statistics;
}

BlockWalk::BlockWalk(model::Model& model, const Calibration& calibration, Context& context, WalkOptions options)
    : model_(model),
      context_(context),
      options_(options),
      experts_(calibration.experts),
      num_blocks_(static_cast<int64_t>(model.blocks.size())),
      inputs_(embed_calibration(model, calibration)),
      num_reported_(context.layers.size()),
      num_curves_(context.curves.size()) {
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
    statistics_ =
        collect_statistics(block(), *model_.rotary, inputs_, stages.empty() ? block().stages() : stages, experts_);
    num_tokens_ = statistics_->num_tokens;
    return *statistics_;
  }
  const int64_t stride = std::max<int64_t>(1, inputs_.size(0) * inputs_.size(1) / options_.sample_tokens);
  const auto make = [&] {
    ++context_.passes.computed;
    return collect_full_statistics(block(), *model_.rotary, inputs_, stride, experts_);
  };
  if (context_.cache == nullptr) {
    statistics_ = make();
    num_tokens_ = statistics_->num_tokens;
    return *statistics_;
  }
  const Stages all = block().stages();
  std::string key = fmt::format("block {} stride {}", index_, stride);
  // Behind a block with experts too: shown all tokens, experts round in another order, and so do the states they give.
  const auto last = model_.blocks.begin() + index_ + 1;
  if (std::any_of(model_.blocks.begin(), last, [](const auto& one) { return !one.moe.empty(); })) {
    key += fmt::format(" experts {} {}", experts_.all_tokens ? "all" : "routed", experts_.min_tokens);
  }
  const auto found = context_.cache->get(key, model_.device(), [&] { return as_tensors(make(), all); });
  context_.passes.shared += found.shared;
  statistics_ = from_tensors(found.tensors, all);
  num_tokens_ = statistics_->num_tokens;
  return *statistics_;
}

BlockStatistics BlockWalk::statistics_now(const Stages& stages) {
  const StageTimes::Scope scope(context_.times, "xtx");
  ++context_.passes.own;
  BlockStatistics now = collect_statistics(block(), *model_.rotary, inputs_, stages, experts_);
  for (const auto& [role, count] : now.num_tokens) num_tokens_[role] = count;
  return now;
}

/// How many tokens each linear of a block with experts was calibrated on, and which had too few.
void BlockWalk::report_experts() {
  if (block().moe.empty()) return;
  int64_t num_rounded = 0;
  for (size_t i = num_reported_; i < context_.layers.size(); ++i) {
    LayerReport& report = context_.layers[i];
    const auto found = num_tokens_.find(report.role);
    if (found == num_tokens_.end()) continue;
    const bool rounded = found->second < tokens_needed(report.role, experts_);
    report.metrics["calibration_tokens"] = static_cast<double>(found->second);
    report.metrics["rounded_to_nearest"] = rounded;
    num_rounded += rounded;
  }
  if (num_rounded > 0) {
    context_.notes.push_back(
        fmt::format("{}: {} linears of experts saw fewer than {} calibration tokens and were "
                    "rounded to nearest",
                    block().name, num_rounded, std::max<int64_t>(1, experts_.min_tokens)));
  }
}

void BlockWalk::advance(const at::Tensor& outputs) {
  report_experts();
  if (context_.checkpoints != nullptr) {
    if (auto state = save_block(block(), before_, index_, context_, num_reported_, num_curves_)) {
      context_.checkpoints->save(index_, std::move(*state));
    }
  }
  step(outputs);
}

/// To the next block, whose inputs follow from the current one.
void BlockWalk::step(const at::Tensor& outputs) {
  report_progress("quantise", index_ + 1, num_blocks_);
  num_reported_ = context_.layers.size();
  num_curves_ = context_.curves.size();
  if (index_ + 1 < num_blocks_) {
    if (options_.original_inputs) {
      if (!statistics_) throw InternalError("[block walk] a block was left without having asked for its statistics");
      inputs_ = statistics_->outputs;
    } else {
      const StageTimes::Scope scope(context_.times, "forward");
      ++context_.passes.own;
      inputs_ = outputs.defined() ? outputs : run_block(block(), *model_.rotary, inputs_);
      inputs_are_original_ = false;
    }
  }
  statistics_.reset();
  num_tokens_.clear();
  ++index_;
  if (!done()) before_ = weights_of(block());
}

}  // namespace aqlm_exp::method
