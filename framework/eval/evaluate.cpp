#include "framework/eval/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/timer.h"
#include "framework/statistics/summary.h"

namespace aqlm_exp::eval {
namespace {

void append(std::vector<double>& out, const at::Tensor& values) {
  const at::Tensor host = values.to(at::kCPU, at::kDouble).contiguous();
  const double* data = host.data_ptr<double>();
  out.insert(out.end(), data, data + host.numel());
}

Spread spread_of(const std::vector<double>& values, const std::vector<int64_t>& sizes) {
  constexpr double kQ[] = {0, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999, 1};
  const std::vector<double> q = statistics::quantiles(values, kQ);
  std::vector<double> means;
  size_t start = 0;
  for (const int64_t size : sizes) {
    means.push_back(statistics::mean(std::span(values).subspan(start, static_cast<size_t>(size))));
    start += static_cast<size_t>(size);
  }
  return {.mean = statistics::mean(values),
          .standard_error = statistics::standard_error(means),
          .min = q[0],
          .p01 = q[1],
          .p05 = q[2],
          .median = q[3],
          .p95 = q[4],
          .p99 = q[5],
          .p999 = q[6],
          .max = q[7]};
}

/// Collects what one evaluation compares with the reference.
class Comparing {
 public:
  explicit Comparing(ReferenceLogits& reference) : reference_(reference) {}

  /// @param log_q [count, vocab_size] of positions first.. of the window's compared ones
  void add(int64_t index, const Window& window, int64_t first, const at::Tensor& log_q) {
    const int64_t count = log_q.size(0);
    const at::Tensor log_p = reference_.log_probabilities(index, window, first, count);
    append(out_.token_kl, kl_divergence(log_p, log_q));
    append(agreement_, log_p.argmax(-1).eq(log_q.argmax(-1)).to(at::kDouble));
    const int64_t scored = std::min(count, window.num_targets() - first);  // a last position may predict nothing
    if (scored <= 0) return;
    const int64_t target = window.first_target + first;
    const at::Tensor ids = window.ids.slice(0, target, target + scored).unsqueeze(1);
    const auto probability = [&](const at::Tensor& log_probabilities) {
      return log_probabilities.slice(0, 0, scored).gather(1, ids).squeeze(1).to(at::kDouble).exp();
    };
    append(delta_p_, probability(log_q) - probability(log_p));
  }

  void end_window(const Window& window, Evaluation& result) {
    const auto count = static_cast<size_t>(window.num_positions());
    out_.window_positions.push_back(window.num_positions());
    window_targets_.push_back(window.num_targets());
    result.window_kl.push_back(statistics::mean(std::span(out_.token_kl).last(count)));
    if (!std::isfinite(result.window_kl.back())) {
      throw NumericalError(
          fmt::format("[evaluate] window {}: KL divergence {}; a probability is 0 where the other "
                      "model's is not",
                      result.window_kl.size() - 1, result.window_kl.back()));
    }
    window_agreement_.push_back(statistics::mean(std::span(agreement_).last(count)));
  }

  void finish(Evaluation& result) {
    result.kl = statistics::mean(result.window_kl);
    result.top1_agreement = statistics::mean(window_agreement_);
    out_.kl = spread_of(out_.token_kl, out_.window_positions);
    out_.delta_p = spread_of(delta_p_, window_targets_);
    double squares = 0;
    for (const double delta : delta_p_) squares += delta * delta;
    out_.delta_p_rms = std::sqrt(squares / static_cast<double>(delta_p_.size()));
    out_.top1_agreement = *result.top1_agreement;
    out_.top1_standard_error = statistics::standard_error(window_agreement_);
    result.divergence = std::move(out_);
  }

 private:
  ReferenceLogits& reference_;
  Divergence out_;
  std::vector<double> agreement_, delta_p_, window_agreement_;
  std::vector<int64_t> window_targets_;
};

/// Standard error of Σ weight · loss / divisor when windows are drawn independently.
double error_between_windows(const WindowSet& set, const std::vector<double>& losses, double log_perplexity) {
  const auto count = static_cast<double>(losses.size());
  if (losses.size() < 2) return std::nan("");
  double total_weight = 0, squares = 0;
  for (const Window& window : set.windows) total_weight += window.weight;
  const double centre = log_perplexity * set.divisor / total_weight;
  for (size_t i = 0; i < losses.size(); ++i) {
    const double rest = set.windows[i].weight * (losses[i] - centre);
    squares += rest * rest;
  }
  return std::sqrt(count / (count - 1) * squares) / set.divisor;
}

}  // namespace

at::Tensor kl_divergence(const at::Tensor& log_p, const at::Tensor& log_q) {
  // exp(log p) (log p − log q), summed in float64: float32 products of probabilities ≤ 1 lose nothing that shows.
  return (log_p.exp() * (log_p - log_q)).sum(-1, /*keepdim=*/false, at::kDouble);
}

Evaluation evaluate(const model::Model& model, const WindowSet& set, ReferenceLogits* reference) {
  const c10::NoGradGuard no_grad;
  const Stopwatch watch;
  Evaluation result;
  result.convention = set.convention.tag();
  result.num_windows = static_cast<int64_t>(set.windows.size());
  std::optional<Comparing> comparing;
  if (reference != nullptr) comparing.emplace(*reference);
  const int64_t step = positions_at_once(model.config.vocab_size);
  double sum = 0, num_bits = 0;
  for (size_t i = 0; i < set.windows.size(); ++i) {
    const Window& window = set.windows[i];
    const int64_t start = window.first_target - 1;  // position of the first distribution looked at
    const at::Tensor hidden = hidden_states(model, window.ids.slice(0, 0, window.last_position + 1));
    for (int64_t first = 0; first < window.num_positions(); first += step) {
      const int64_t count = std::min(step, window.num_positions() - first);
      const at::Tensor log_q =
          at::log_softmax(model.logits(hidden.slice(0, start + first, start + first + count)), -1);  // [count, vocab]
      const int64_t scored = std::min(count, window.num_targets() - first);
      const int64_t target = window.first_target + first;
      if (scored > 0) {
        append(
            result.token_losses,
            -log_q.slice(0, 0, scored).gather(1, window.ids.slice(0, target, target + scored).unsqueeze(1)).squeeze(1));
      }
      if (comparing) comparing->add(static_cast<int64_t>(i), window, first, log_q);
    }
    result.window_tokens.push_back(window.num_targets());
    result.window_document.push_back(window.document);
    result.num_scored_tokens += window.num_targets();
    result.window_losses.push_back(
        statistics::mean(std::span(result.token_losses).last(static_cast<size_t>(window.num_targets()))));
    if (!std::isfinite(result.window_losses.back())) {
      throw NumericalError(
          fmt::format("[evaluate] window {}: loss {}; the quantised model produces NaN or infinite logits", i,
                      result.window_losses.back()));
    }
    sum += window.weight * result.window_losses.back();
    num_bits += static_cast<double>(window.num_targets()) * result.window_losses.back() / std::log(2.0);
    if (comparing) comparing->end_window(window, result);
    report_progress("evaluate", static_cast<int64_t>(i) + 1, result.num_windows);
  }
  result.log_perplexity = sum / set.divisor;
  result.log_perplexity_error = error_between_windows(set, result.window_losses, result.log_perplexity);
  result.perplexity = std::exp(result.log_perplexity);
  if (set.num_bytes) result.bits_per_byte = num_bits / static_cast<double>(*set.num_bytes);
  if (comparing) comparing->finish(result);
  result.wall_s = watch.elapsed_s();
  return result;
}

Evaluation evaluate(const model::Model& model, const std::vector<at::Tensor>& windows, ReferenceLogits* reference) {
  Convention convention;
  if (!windows.empty()) convention.seq_len = convention.stride = windows.front().size(0);
  return evaluate(model, window_set_of(windows, convention), reference);
}

}  // namespace aqlm_exp::eval
