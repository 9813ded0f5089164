#include "framework/generate/sampling.h"

#include <fmt/format.h>

#include <cmath>

#include "framework/base/error.h"

namespace aqlm_exp::generate {
namespace {

void need(bool good, const char* name, double got, const char* wanted) {
  if (!good) throw ConfigError(fmt::format("sampling: {}: got {}, need {}", name, got, wanted));
}

}  // namespace

SamplingOptions SamplingOptions::greedy() {
  SamplingOptions options;
  options.temperature = 0;
  return options;
}

decode::SampleParams sample_params(const SamplingOptions& options) {
  need(options.temperature >= 0 && std::isfinite(options.temperature), "temperature", options.temperature,
       ">= 0 (0 is greedy)");
  need(options.top_p >= 0 && options.top_p <= 1, "top-p", options.top_p, "0 to 1 (1 keeps every token)");
  need(options.min_p >= 0 && options.min_p <= 1, "min-p", options.min_p, "0 to 1 (0 keeps every token)");
  need(options.top_k >= 0 && options.top_k <= INT32_MAX, "top-k", static_cast<double>(options.top_k),
       ">= 0 (0 keeps every token)");
  need(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty), "repetition penalty",
       options.repetition_penalty, "> 0 (1 is none)");
  return {.temperature = static_cast<float>(options.temperature),
          .top_p = static_cast<float>(options.top_p),
          .min_p = static_cast<float>(options.min_p),
          .repetition_penalty = static_cast<float>(options.repetition_penalty),
          .top_k = static_cast<int32_t>(options.top_k)};
}

std::string describe(const SamplingOptions& options) {
  std::string text = options.temperature == 0 ? "greedy" : fmt::format("temperature {:g}", options.temperature);
  if (options.temperature > 0) {
    if (options.top_k > 0) text += fmt::format(", top-k {}", options.top_k);
    if (options.top_p < 1) text += fmt::format(", top-p {:g}", options.top_p);
    if (options.min_p > 0) text += fmt::format(", min-p {:g}", options.min_p);
  }
  if (options.repetition_penalty != 1) text += fmt::format(", repetition penalty {:g}", options.repetition_penalty);
  if (options.temperature > 0) text += fmt::format(", seed {}", options.seed);
  return text;
}

Sampler::Sampler(const SamplingOptions& options, int64_t vocab_size)
    : params_(sample_params(options)),
      uniforms_(options.seed),
      seen_(params_.repetition_penalty != 1.0F ? static_cast<size_t>(vocab_size) : 0) {}

void Sampler::note(std::span<const int32_t> tokens) {
  if (seen_.empty()) return;
  for (const int32_t token : tokens) seen_[static_cast<size_t>(token)] = 1;
}

int32_t Sampler::choose(std::span<float> logits) {
  const int64_t token = decode::sample_ref(params_, static_cast<int64_t>(logits.size()), logits.data(),
                                           seen_.empty() ? nullptr : seen_.data(), uniforms_.next());
  if (token < 0) {
    throw NumericalError(
        "[sampling] the model's logits are not numbers; the weights or the dtype do not fit: try --dtype float32");
  }
  const auto chosen = static_cast<int32_t>(token);
  note({&chosen, 1});
  return chosen;
}

}  // namespace aqlm_exp::generate
