// Perplexity under a convention, and how far a model's predictions are from the unquantised model's: KL divergence,
// agreement on the first token, change of the true token's probability.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "framework/eval/reference_logits.h"
#include "framework/eval/windows.h"
#include "framework/model/model.h"

namespace aqlm_exp::eval {

/// Spread of a quantity over tokens.
struct Spread {
  double mean = 0;            ///< over all tokens alike
  double standard_error = 0;  ///< of the mean, from the windows' means; NaN for one window
  double min = 0, p01 = 0, p05 = 0, median = 0, p95 = 0, p99 = 0, p999 = 0, max = 0;
};

/// Against reference log-probabilities; after llama.cpp's tools/perplexity.
struct Divergence {
  Spread kl;       ///< KL(reference ‖ model), nats per token
  Spread delta_p;  ///< model's − reference's probability of the true token
  double delta_p_rms = 0;
  double top1_agreement = 0;  ///< share of positions where both rank the same token first
  double top1_standard_error = 0;
  std::vector<double> token_kl;           ///< every compared position, window after window
  std::vector<int64_t> window_positions;  ///< how many of them each window has
};

struct Evaluation {
  std::string convention;                ///< tag: never compare with a number of another one
  double perplexity = 0.0;               ///< exp(log_perplexity)
  double log_perplexity = 0.0;           ///< nats; Σ weight · window's mean loss / divisor
  double log_perplexity_error = 0.0;     ///< standard error between windows; NaN for one window
  std::optional<double> bits_per_byte;   ///< where the convention counts documents' bytes
  std::vector<double> window_losses;     ///< mean loss of each window, nats per predicted token
  std::vector<double> token_losses;      ///< every scored token, window after window, nats
  std::vector<int64_t> window_tokens;    ///< how many of them each window has
  std::vector<int64_t> window_document;  ///< which document each window is from
  std::optional<double>
      kl;  ///< KL(reference ‖ model), nats per token: mean over all positions of a window, then over windows
  std::vector<double> window_kl;
  std::optional<double> top1_agreement;  ///< share of positions where both models rank the same token first
  std::optional<Divergence> divergence;
  int64_t num_windows = 0;
  int64_t num_scored_tokens = 0;
  double wall_s = 0.0;
};

/// @param reference log-probabilities to compare with; null: perplexity alone
/// @throws NumericalError if a window's loss is NaN or infinite
Evaluation evaluate(const model::Model& model, const WindowSet& set, ReferenceLogits* reference);
/// The same of windows that are scored whole, as under `gptq`.
Evaluation evaluate(const model::Model& model, const std::vector<at::Tensor>& windows, ReferenceLogits* reference);

/// KL(p ‖ q) per position in nats from log-probabilities [tokens, vocab_size] float32; sums in float64. → [tokens]
/// float64
at::Tensor kl_divergence(const at::Tensor& log_p, const at::Tensor& log_q);

/// A model whose linears take and give bfloat16: inputs and outputs rounded, sums in float32, as a bf16 matrix product
/// has them. KL(model ‖ this one) is what half precision alone costs: differences below it mean nothing. Weights are
/// shared with `model`; norms, attention and the output layer stay float32.
model::Model with_bf16_linears(const model::Model& model);

}  // namespace aqlm_exp::eval
