#include "framework/method/stage_inputs.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;  // in one forward pass of a block: bounds the memory of attention and MLP

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
                               const std::function<void(size_t stage, int64_t sample, const at::Tensor& x)>& see) {
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
  const int64_t step = std::max<int64_t>(1, kTokensAtATime / inputs.size(1));
  for (; sample < inputs.size(0); sample += step) {
    const int64_t end = std::min(inputs.size(0), sample + step);
    try {
      const at::Tensor out = block.forward(inputs.slice(0, sample, end), rotary);
      if (want_outputs) outputs.slice(0, sample, end).copy_(out);
    } catch (const LastStageSeen&) {
    }
  }
  return outputs;
}

FloatActivations float_activations(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                                   const at::Tensor& inputs, bool keep_stage_inputs) {
  FloatActivations out;
  Stages stages;
  if (keep_stage_inputs) stages = block.stages();
  out.stage_inputs.resize(stages.size());
  out.outputs = stream_stage_inputs(
      rotary, block, inputs, stages, /*want_outputs=*/true, [&](size_t stage, int64_t sample, const at::Tensor& x) {
        at::Tensor& kept = out.stage_inputs[stage];
        if (!kept.defined()) kept = at::empty({inputs.size(0), inputs.size(1), x.size(-1)}, x.options());
        kept.slice(0, sample, sample + x.size(0)).copy_(x);
      });
  return out;
}

}  // namespace aqlm_exp::method
