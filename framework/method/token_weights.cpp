#include "framework/method/token_weights.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "framework/base/log.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kTokensAtATime = 4096;  // in one forward and backward pass: bounds the memory of its activations

/// While it lives, operations on CUDA that can add up in a fixed order do so: attention's backward pass would not, and
/// the codes of a seed would differ from run to run. What it warns of (cuBLAS without CUBLAS_WORKSPACE_CONFIG, which
/// matters with several streams only) is not shown.
class FixedOrder {
 public:
  explicit FixedOrder(at::Device device)
      : wanted_(device.is_cuda()),
        was_on_(at::globalContext().deterministicAlgorithms()),
        warned_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        silence_(wanted_ ? &silent_ : c10::WarningUtils::get_warning_handler()) {
    if (wanted_) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  }
  FixedOrder(const FixedOrder&) = delete;
  FixedOrder& operator=(const FixedOrder&) = delete;
  ~FixedOrder() {
    if (wanted_) at::globalContext().setDeterministicAlgorithms(was_on_, warned_only_);
  }

 private:
  class Silent final : public c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };
  bool wanted_, was_on_, warned_only_;
  Silent silent_;
  c10::WarningUtils::WarningHandlerGuard silence_;
};

/// A dense linear that notes the squared gradient at its output.
class GradientTap final : public backend::LinearOp {
 public:
  GradientTap(const model::Linear& linear, int64_t num_samples, int64_t seq_len, at::ScalarType dtype)
      : weight_(linear.weight->dequantise().detach().to(dtype)), bias_(linear.bias) {
    squares_ = at::zeros({num_samples, seq_len}, weight_.options().dtype(at::kFloat));
  }

  at::Tensor forward(const at::Tensor& x) const override {
    at::Tensor z = at::linear(x, weight_, bias_);
    const int64_t start = start_;
    z.register_hook([this, start](const at::Tensor& gradient) {
      const at::Tensor norms = at::linalg_vector_norm(gradient.detach(), 2, {-1}, /*keepdim=*/false, at::kFloat);
      squares_.slice(0, start, start + gradient.size(0))
          .copy_(norms.square_().div_(static_cast<double>(gradient.size(-1))));
    });
    return z;
  }
  int64_t resident_bytes() const override { return static_cast<int64_t>(weight_.nbytes()); }
  std::string kernel() const override { return "gradient_tap"; }

  void start_at(int64_t sample) { start_ = sample; }
  const at::Tensor& squares() const { return squares_; }

 private:
  at::Tensor weight_, bias_;
  at::Tensor squares_;  // [num_samples, seq_len] float32
  int64_t start_ = 0;
};

/// ∂L/∂x of L = Σ cross-entropy of softcap(x Wᵀ) against `targets`. Some tokens at a time, so that logits stay in the
/// cache of a CPU, and by formula: autograd would keep all logits and go over them six times.
/// @param normed [tokens, hidden_size]; targets [tokens] int64 → [tokens, hidden_size] in normed's dtype
at::Tensor output_layer_gradient(const model::Model& model, const at::Tensor& normed, const at::Tensor& targets) {
  const c10::NoGradGuard no_grad;
  const int64_t logits_at_a_time = normed.is_cpu() ? int64_t{1} << 21 : int64_t{1} << 26;
  const int64_t step = std::max<int64_t>(256, logits_at_a_time / model.output.size(0));
  const double softcap = model.config.logit_softcap;
  at::Tensor out = at::empty_like(normed);
  for (int64_t start = 0; start < normed.size(0); start += step) {
    const int64_t end = std::min(normed.size(0), start + step);
    at::Tensor logits = at::linear(normed.slice(0, start, end), model.output).to(at::kFloat);  // [step, vocab_size]
    if (softcap != 0) logits = logits.div_(softcap).tanh_();
    at::Tensor gradient = at::softmax(softcap != 0 ? logits * softcap : logits, -1);
    const at::Tensor expected = targets.slice(0, start, end).unsqueeze(1);
    gradient.scatter_add_(1, expected, at::full({1, 1}, -1.0, gradient.options()).expand_as(expected));
    if (softcap != 0) gradient.mul_(1 - logits.square_());
    at::Tensor part = out.slice(0, start, end);
    at::matmul_out(part, gradient.to(normed.scalar_type()), model.output);
  }
  return out;
}

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

/// A copy in `dtype` whose linears note their gradients. Norms stay float32, which rms_norm() takes with any dtype.
model::Model tapped_copy(const model::Model& model, int64_t num_samples, int64_t seq_len, at::ScalarType dtype,
                         std::vector<std::shared_ptr<GradientTap>>& taps) {
  model::Model tapped = model.clone();
  const bool tied = tapped.output.is_same(tapped.embedding);
  tapped.embedding = tapped.embedding.to(dtype);
  tapped.output = tied ? tapped.embedding : tapped.output.to(dtype);
  for (model::Linear* linear : tapped.linears()) {
    if (linear->bias.defined()) linear->bias = linear->bias.to(dtype);
    taps.push_back(std::make_shared<GradientTap>(*linear, num_samples, seq_len, dtype));
    linear->op = taps.back();
  }
  for (model::DecoderBlock& block : tapped.blocks) {
    for (at::Tensor* tensor : {&block.moe.router, &block.moe.shared_gate}) {
      if (tensor->defined()) *tensor = tensor->to(dtype);
    }
  }
  return tapped;
}

/// One forward and backward pass of all samples: mean squared gradient of each token at each linear's output.
TensorMap squared_gradients(const model::Model& model, const at::Tensor& ids, at::ScalarType dtype) {
  const int64_t num_samples = ids.size(0), seq_len = ids.size(1);
  std::vector<std::shared_ptr<GradientTap>> taps;
  const model::Model tapped = tapped_copy(model, num_samples, seq_len, dtype, taps);
  const int64_t step = std::max<int64_t>(1, kTokensAtATime / seq_len);
  for (int64_t start = 0; start < num_samples; start += step) {
    const int64_t end = std::min(num_samples, start + step);
    for (const auto& tap : taps) tap->start_at(start);
    const at::Tensor batch = ids.slice(0, start, end).to(model.device());
    const c10::AutoGradMode grad(true);
    at::Tensor hidden = tapped.embed(batch).detach().requires_grad_(true);
    for (const model::DecoderBlock& block : tapped.blocks) hidden = block.forward(hidden, *tapped.rotary);
    // The last token of a sequence has nothing to predict.
    const at::Tensor normed =
        model::rms_norm(hidden.slice(1, 0, seq_len - 1), tapped.final_norm, tapped.config.rms_norm_eps);
    const at::Tensor gradient =
        output_layer_gradient(tapped, normed.detach().flatten(0, 1), batch.slice(1, 1).flatten());
    const FixedOrder fixed_order(model.device());
    normed.backward(gradient.view_as(normed));
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

/// Linears that read the same input get the mean of their weights.
void share_by_stage(model::DecoderBlock block, RoleWeights& weights) {
  for (const auto& stage : block.stages()) {
    at::Tensor sum = at::zeros_like(weights.at(stage.front()->role).weights);
    for (const model::Linear* linear : stage) sum.add_(weights.at(linear->role).weights);
    sum.div_(static_cast<double>(stage.size()));
    for (const model::Linear* linear : stage) weights.at(linear->role).weights = sum;
  }
}

}  // namespace

std::vector<RoleWeights> token_weights(const model::Model& model, const Calibration& calibration,
                                       const TokenWeightOptions& options, CalibrationCache* cache) {
  const auto make = [&] { return squared_gradients(model, calibration.input_ids, options.dtype); };
  const std::string key = options.dtype == at::kFloat ? "token weights" : "token weights bfloat16";
  const TensorMap squares = cache == nullptr ? make() : cache->get(key, model.device(), make).tensors;
  std::vector<RoleWeights> out(model.blocks.size());
  for (size_t i = 0; i < model.blocks.size(); ++i) {
    for (const model::Linear* linear : model.blocks[i].linears()) {
      out[i][linear->role] = finish(squares.at(key_of(model, i, linear->role)), linear->name, options.clip);
    }
    if (options.by_stage) share_by_stage(model.blocks[i], out[i]);
  }
  return out;
}

}  // namespace aqlm_exp::method
