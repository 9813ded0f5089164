#include "framework/eval/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/timer.h"

namespace aqlm_exp::eval {
namespace {

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

std::vector<at::Tensor> make_windows(std::span<const int32_t> ids, const Convention& convention, at::Device device) {
  std::vector<at::Tensor> windows;
  for (int64_t start : window_starts(convention, static_cast<int64_t>(ids.size()))) {
    const std::vector<int64_t> tokens(ids.begin() + start, ids.begin() + start + convention.seq_len);
    windows.push_back(at::tensor(tokens, at::kLong).to(device));
  }
  return windows;
}

at::Tensor kl_divergence(const at::Tensor& log_p, const at::Tensor& log_q) {
  // exp(log p) (log p − log q), summed in float64: float32 products of probabilities ≤ 1 lose nothing that shows.
  return (log_p.exp() * (log_p - log_q)).sum(-1, /*keepdim=*/false, at::kDouble);
}

Evaluation evaluate(const model::Model& model, const std::vector<at::Tensor>& windows, ReferenceLogits* reference) {
  const c10::NoGradGuard no_grad;
  const Stopwatch watch;
  Evaluation result;
  result.num_windows = static_cast<int64_t>(windows.size());
  std::vector<double> window_agreement;
  for (size_t i = 0; i < windows.size(); ++i) {
    const at::Tensor& ids = windows[i];
    const int64_t tokens = ids.size(0);
    const at::Tensor log_q = at::log_softmax(model.forward(ids.unsqueeze(0)).squeeze(0), -1);  // [tokens, vocab]
    const at::Tensor losses =
        -log_q.slice(0, 0, tokens - 1).gather(1, ids.slice(0, 1, tokens).unsqueeze(1)).to(at::kDouble);
    result.window_losses.push_back(losses.mean().item<double>());
    if (!std::isfinite(result.window_losses.back())) {
      throw NumericalError(
          fmt::format("[evaluate] window {}: loss {}; the quantised model produces NaN or infinite logits", i,
                      result.window_losses.back()));
    }
    result.num_scored_tokens += tokens - 1;
    if (reference != nullptr) {
      const at::Tensor log_p = reference->log_probabilities(static_cast<int64_t>(i), ids);
      result.window_kl.push_back(kl_divergence(log_p, log_q).mean().item<double>());
      window_agreement.push_back(log_p.argmax(-1).eq(log_q.argmax(-1)).to(at::kDouble).mean().item<double>());
    }
    report_progress("evaluate", static_cast<int64_t>(i) + 1, result.num_windows);
  }
  result.perplexity = std::exp(mean(result.window_losses));
  if (reference != nullptr) {
    result.kl = mean(result.window_kl);
    result.top1_agreement = mean(window_agreement);
  }
  result.wall_s = watch.elapsed_s();
  return result;
}

}  // namespace aqlm_exp::eval
