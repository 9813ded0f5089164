#include "framework/method/stage_inputs.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/quant/weight.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;  // in one forward pass of a block: bounds the memory of attention and MLP

int64_t samples_at_a_time(const at::Tensor& inputs) { return std::max<int64_t>(1, kTokensAtATime / inputs.size(1)); }

/// The block with its quantised linears decoded and all of them in `dtype`: for passes of many batches.
model::DecoderBlock decoded(const model::DecoderBlock& block, at::ScalarType dtype) {
  model::DecoderBlock copy = block;
  for (model::Linear* linear : copy.linears()) {
    linear->op.reset();  // what a backend made of the old weight
    linear->group.reset();
    linear->observer = nullptr;
    if (linear->bias.defined()) linear->bias = linear->bias.to(dtype);
    if (!linear->weight->is_quantised() && dtype == at::kFloat) continue;
    linear->weight = std::make_shared<quant::DenseWeight>(linear->weight->dequantise().detach().to(dtype));
  }
  return copy;
}

/// Thrown by an observer to leave a forward pass whose rest nobody needs.
struct LastStageSeen {};

/// Takes the observers off again however the pass ends.
class Observers {
 public:
  explicit Observers(const Stages& stages) : stages_(stages) {}
  Observers(const Observers&) = delete;
  Observers& operator=(const Observers&) = delete;
  ~Observers() {
    for (const auto& stage : stages_) stage.front()->observer = nullptr;
  }

 private:
  const Stages& stages_;
};

}  // namespace

at::Tensor stream_stage_inputs(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                               const at::Tensor& inputs, const Stages& stages, bool want_outputs,
                               const std::function<void(size_t stage, int64_t sample, const at::Tensor& x)>& see,
                               const std::function<void(int64_t sample, const at::Tensor& out)>& see_outputs) {
  const c10::NoGradGuard no_grad;
  const Observers observers(stages);
  int64_t sample = 0;
  for (size_t i = 0; i < stages.size(); ++i) {
    stages[i].front()->observer = [&, i](const at::Tensor& x) {
      see(i, sample, x);
      if (!want_outputs && i + 1 == stages.size()) throw LastStageSeen();
    };
  }
  at::Tensor outputs = want_outputs ? at::empty_like(inputs) : at::Tensor();
  const int64_t step = samples_at_a_time(inputs);
  for (; sample < inputs.size(0); sample += step) {
    const int64_t end = std::min(inputs.size(0), sample + step);
    try {
      const at::Tensor out = block.forward(inputs.slice(0, sample, end), rotary);
      if (want_outputs) outputs.slice(0, sample, end).copy_(out);
      if (want_outputs && see_outputs) see_outputs(sample, out);
    } catch (const LastStageSeen&) {
    }
  }
  return outputs;
}

StagedPass::StagedPass(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, at::Tensor inputs,
                       at::ScalarType dtype)
    : block_(block), running_(block), rotary_(rotary), inputs_(std::move(inputs)), dtype_(dtype) {
  if (!block.moe.empty()) throw InternalError("[staged pass] a block with experts has no four stages");
}

int64_t StagedPass::step() const { return samples_at_a_time(inputs_); }

at::Tensor& StagedPass::kept(at::Tensor& state, const at::Tensor& like) const {
  if (!state.defined()) state = at::empty({inputs_.size(0), inputs_.size(1), like.size(-1)}, like.options());
  return state;
}

at::Tensor StagedPass::stage_inputs(size_t stage, int64_t begin, int64_t end) {
  const c10::NoGradGuard no_grad;
  if (begin == 0) running_ = decoded(block_, dtype_);
  const at::Tensor inputs = inputs_.slice(0, begin, end);
  if (stage == 0) return running_.attention_normed(inputs);
  if (stage == 1) {
    const at::Tensor mixed = running_.mix(running_.attention_normed(inputs).to(dtype_), rotary_);
    kept(mixed_, mixed).slice(0, begin, end).copy_(mixed);
    return mixed.to(at::kFloat);
  }
  if (stage == 2) {
    const at::Tensor h = running_.add_attention(inputs, mixed_.slice(0, begin, end));
    kept(stream_, h).slice(0, begin, end).copy_(h);
    if (end == inputs_.size(0)) mixed_.reset();
    return running_.mlp_normed(h);
  }
  const at::Tensor gated = running_.gated(running_.mlp_normed(stream_.slice(0, begin, end)).to(dtype_));
  kept(gated_, gated).slice(0, begin, end).copy_(gated);
  return gated.to(at::kFloat);
}

at::Tensor StagedPass::outputs(int64_t begin, int64_t end) const {
  const c10::NoGradGuard no_grad;
  return running_.add_mlp(stream_.slice(0, begin, end), gated_.slice(0, begin, end));
}

at::Tensor StagedPass::outputs() {
  const c10::NoGradGuard no_grad;
  running_ = decoded(block_, dtype_);
  at::Tensor out = at::empty_like(inputs_);
  for (int64_t begin = 0; begin < inputs_.size(0); begin += step()) {
    const int64_t end = std::min(inputs_.size(0), begin + step());
    out.slice(0, begin, end).copy_(outputs(begin, end));
  }
  return out;
}

FloatActivations float_activations(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                                   const at::Tensor& inputs, bool keep_stage_inputs) {
  FloatActivations out;
  Stages stages;
  if (keep_stage_inputs) stages = block.stages();
  out.stage_inputs.resize(stages.size());
  out.outputs = stream_stage_inputs(rotary, block, inputs, stages, /*want_outputs=*/true,
                                    [&](size_t stage, int64_t sample, const at::Tensor& x) {
                                      at::Tensor& kept = out.stage_inputs[stage];
                                      if (!kept.defined())
                                        kept = at::empty({inputs.size(0), inputs.size(1), x.size(-1)}, x.options());
                                      kept.slice(0, sample, sample + x.size(0)).copy_(x);
                                    });
  return out;
}

}  // namespace aqlm_exp::method
