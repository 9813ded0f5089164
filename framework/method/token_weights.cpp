#include "framework/method/token_weights.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;  // in one forward and backward pass: bounds the memory of its activations

/// A dense linear that notes the squared gradient at its output.
class GradientTap final : public backend::LinearOp {
 public:
  GradientTap(const model::Linear& linear, int64_t num_samples, int64_t seq_len)
      : weight_(linear.weight->dequantise().detach()), bias_(linear.bias) {
    squares_ = at::zeros({num_samples, seq_len}, weight_.options());
  }

  at::Tensor forward(const at::Tensor& x) const override {
    at::Tensor z = at::linear(x, weight_, bias_);
    const int64_t start = start_;
    z.register_hook([this, start](const at::Tensor& gradient) {
      squares_.slice(0, start, start + gradient.size(0)).copy_(gradient.detach().square().mean(-1));
    });
    return z;
  }
  int64_t resident_bytes() const override { return weight_.numel() * static_cast<int64_t>(sizeof(float)); }
  std::string kernel() const override { return "gradient_tap"; }

  void start_at(int64_t sample) { start_ = sample; }
  const at::Tensor& squares() const { return squares_; }

 private:
  at::Tensor weight_, bias_;
  at::Tensor squares_;  // [num_samples, seq_len]
  int64_t start_ = 0;
};

TokenWeights finish(const at::Tensor& squares, const std::string& name, std::optional<double> clip) {
  const at::Tensor mean = squares.to(at::kDouble).mean();
  TokenWeights out;
  out.mean_square = mean.item<double>();
  if (!std::isfinite(out.mean_square)) {
    throw NumericalError(fmt::format(
        "[token_weights] {}: the gradient of the loss is not finite; set objective.token_weights: false", name));
  }
  if (out.mean_square == 0.0) {
    log_warning("{}: the loss does not depend on its output; all tokens count alike", name);
    out.weights = at::ones_like(squares);
    return out;
  }
  out.weights = squares / mean.to(at::kFloat);
  if (clip) out.weights.clamp_max_(*clip);
  return out;
}

std::string key_of(const model::Model& model, size_t block, const std::string& role) {
  return model.blocks[block].name + " " + role;
}

/// One forward and backward pass of all samples: mean squared gradient of each token at each linear's output.
TensorMap squared_gradients(const model::Model& model, const at::Tensor& ids) {
  const int64_t num_samples = ids.size(0), seq_len = ids.size(1);
  model::Model tapped = model.clone();
  std::vector<std::shared_ptr<GradientTap>> taps;
  for (model::Linear* linear : tapped.linears()) {
    taps.push_back(std::make_shared<GradientTap>(*linear, num_samples, seq_len));
    linear->op = taps.back();
  }
  const int64_t step = std::max<int64_t>(1, kTokensAtATime / seq_len);
  for (int64_t start = 0; start < num_samples; start += step) {
    const int64_t end = std::min(num_samples, start + step);
    for (const auto& tap : taps) tap->start_at(start);
    const at::Tensor batch = ids.slice(0, start, end).to(model.device());
    const c10::AutoGradMode grad(true);
    at::Tensor hidden = tapped.embed(batch).detach().requires_grad_(true);
    for (const model::DecoderBlock& block : tapped.blocks) hidden = block.forward(hidden, *tapped.rotary);
    const at::Tensor logits = tapped.logits(hidden.slice(1, 0, seq_len - 1)).flatten(0, 1);
    at::cross_entropy_loss(logits, batch.slice(1, 1).flatten(), {}, at::Reduction::Sum).backward();
    report_progress("token weights", end, num_samples);
  }
  TensorMap out;
  size_t tap = 0;
  for (size_t i = 0; i < tapped.blocks.size(); ++i) {
    for (const model::Linear* linear : tapped.blocks[i].linears()) {
      out[key_of(model, i, linear->role)] = taps[tap++]->squares();
    }
  }
  return out;
}

}  // namespace

std::vector<std::map<std::string, TokenWeights>> token_weights(const model::Model& model,
                                                               const Calibration& calibration,
                                                               std::optional<double> clip, CalibrationCache* cache) {
  const auto make = [&] { return squared_gradients(model, calibration.input_ids); };
  const TensorMap squares =
      cache == nullptr ? make() : cache->get("token weights", model.device(), make).tensors;
  std::vector<std::map<std::string, TokenWeights>> out(model.blocks.size());
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    for (const model::Linear* linear : model.blocks[i].linears()) {
      out[i][linear->role] = finish(squares.at(key_of(model, i, linear->role)), linear->name, clip);
    }
  }
  return out;
}

}  // namespace aqlm_exp::method
