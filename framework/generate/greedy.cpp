#include "framework/generate/greedy.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/base/timer.h"

namespace aqlm_exp::generate {
namespace {

at::Tensor as_ids(std::span<const int32_t> tokens, at::Device device) {
  const std::vector<int64_t> wide(tokens.begin(), tokens.end());
  return at::tensor(wide, at::kLong).unsqueeze(0).to(device);  // [1, tokens]
}

/// Runs `ids` and returns the most likely next token. Reading it waits for the device.
int64_t next_token(const model::Model& model, const at::Tensor& ids, model::KvCache& cache) {
  const at::Tensor hidden = model.forward_cached(ids, cache);
  return model.logits(hidden.slice(1, -1)).argmax(-1).item<int64_t>();
}

}  // namespace

std::vector<int32_t> greedy(const model::Model& model, std::span<const int32_t> prompt, int64_t num_tokens) {
  const c10::NoGradGuard no_grad;
  if (prompt.empty()) throw DataError("[greedy] the prompt is empty; give at least one token");
  model::KvCache cache = model.make_cache(1, static_cast<int64_t>(prompt.size()) + num_tokens);
  std::vector<int32_t> out;
  int64_t token = num_tokens > 0 ? next_token(model, as_ids(prompt, model.device()), cache) : 0;
  while (static_cast<int64_t>(out.size()) < num_tokens) {
    out.push_back(static_cast<int32_t>(token));
    if (static_cast<int64_t>(out.size()) == num_tokens) break;
    token =
        next_token(model, at::full({1, 1}, token, at::TensorOptions().dtype(at::kLong).device(model.device())), cache);
  }
  return out;
}

Speed measure_speed(const model::Model& model, std::span<const int32_t> text, const SpeedOptions& options) {
  const c10::NoGradGuard no_grad;
  if (static_cast<int64_t>(text.size()) < options.prompt_tokens) {
    throw DataError(
        fmt::format("[speed] the text has {} tokens, the prompt needs {}", text.size(), options.prompt_tokens));
  }
  const at::Tensor prompt = as_ids(text.first(static_cast<size_t>(options.prompt_tokens)), model.device());
  const at::TensorOptions id_options = at::TensorOptions().dtype(at::kLong).device(model.device());
  Speed speed;
  for (int64_t run = 0; run <= options.repeats; ++run) {
    model::KvCache cache = model.make_cache(1, options.prompt_tokens + options.decode_tokens);
    const Stopwatch prefill;
    int64_t token = next_token(model, prompt, cache);
    const double prefill_s = prefill.elapsed_s();
    const Stopwatch decode;
    for (int64_t i = 0; i < options.decode_tokens; ++i) {
      token = next_token(model, at::full({1, 1}, token, id_options), cache);
    }
    const double decode_s = decode.elapsed_s();
    if (run == 0) continue;  // warm-up
    speed.prefill_tokens_per_s.push_back(static_cast<double>(options.prompt_tokens) / prefill_s);
    speed.decode_tokens_per_s.push_back(static_cast<double>(options.decode_tokens) / decode_s);
  }
  return speed;
}

std::vector<backend::Profile::Share> kernel_shares(const model::Model& model, std::span<const int32_t> text,
                                                   const SpeedOptions& options) {
  const c10::NoGradGuard no_grad;
  const at::Tensor prompt = as_ids(text.first(static_cast<size_t>(options.prompt_tokens)), model.device());
  const at::TensorOptions id_options = at::TensorOptions().dtype(at::kLong).device(model.device());
  model::KvCache cache = model.make_cache(1, options.prompt_tokens + options.decode_tokens);
  int64_t token = next_token(model, prompt, cache);
  backend::Profile profile(model.device());
  for (int64_t i = 0; i < options.decode_tokens; ++i) {
    token = next_token(model, at::full({1, 1}, token, id_options), cache);
  }
  return profile.shares();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace aqlm_exp::generate
