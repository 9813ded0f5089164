#include "framework/method/block_loop.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;  // in one forward pass of a block: bounds the memory of attention and MLP

int64_t samples_at_a_time(const at::Tensor& inputs) { return std::max<int64_t>(1, kTokensAtATime / inputs.size(1)); }

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
                                   const at::Tensor& inputs, const std::vector<std::vector<model::Linear*>>& stages) {
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

}  // namespace aqlm_exp::method
