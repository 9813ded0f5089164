// Perplexity, KL divergence to the unquantised model and top-1 agreement over the windows of a text.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "framework/eval/convention.h"
#include "framework/eval/reference_logits.h"
#include "framework/model/model.h"

namespace aqlm_exp::eval {

struct Evaluation {
  double perplexity = 0.0;            ///< exp(mean over windows of the window's mean loss)
  std::vector<double> window_losses;  ///< mean loss of each window, nats per predicted token
  std::optional<double>
      kl;  ///< KL(reference ‖ model), nats per token: mean over all positions of a window, then over windows
  std::vector<double> window_kl;
  std::optional<double> top1_agreement;  ///< share of positions where both models rank the same token first
  int64_t num_windows = 0;
  int64_t num_scored_tokens = 0;
  double wall_s = 0.0;
};

/// The windows of `ids` under a convention, each [seq_len] int64 on `device`.
std::vector<at::Tensor> make_windows(std::span<const int32_t> ids, const Convention& convention, at::Device device);

/// @param reference log-probabilities to compare with; null: perplexity alone
/// @throws NumericalError if a window's loss is NaN or infinite
Evaluation evaluate(const model::Model& model, const std::vector<at::Tensor>& windows, ReferenceLogits* reference);

/// KL(p ‖ q) per position in nats from log-probabilities [tokens, vocab_size] float32; sums in float64. → [tokens]
/// float64
at::Tensor kl_divergence(const at::Tensor& log_p, const at::Tensor& log_q);

}  // namespace aqlm_exp::eval
