#include "framework/generate/greedy.h"

#include <fmt/format.h>

#include <algorithm>

#include "framework/base/error.h"
#include "framework/generate/measure.h"

namespace aqlm_exp::generate {

std::vector<int32_t> greedy(const model::Model& model, std::span<const int32_t> prompt, int64_t num_tokens) {
  if (prompt.empty()) throw DataError("[greedy] the prompt is empty; give at least one token");
  if (num_tokens <= 0) return {};
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = static_cast<int64_t>(prompt.size()) + num_tokens});
  const std::vector<int32_t> copy(prompt.begin(), prompt.end());
  return generate(*decoder, {&copy, 1}, {.max_new_tokens = num_tokens, .sampling = SamplingOptions::greedy()})[0]
      .tokens;
}

Speed measure_speed(const model::Model& model, std::span<const int32_t> text, const SpeedOptions& options) {
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = options.prompt_tokens + options.decode_tokens + 1});
  const SpeedTest prefill{SpeedTest::Kind::kPrefill, options.prompt_tokens, 0};
  const SpeedTest decode{SpeedTest::Kind::kDecode, options.decode_tokens, options.prompt_tokens};
  Speed speed;
  for (int64_t run = 0; run <= options.repeats; ++run) {
    const double prefill_s = run_speed_test(*decoder, prefill, text);
    const double decode_s = run_speed_test(*decoder, decode, text);
    if (run == 0) continue;  // warm-up
    speed.prefill_tokens_per_s.push_back(static_cast<double>(options.prompt_tokens) / prefill_s);
    speed.decode_tokens_per_s.push_back(static_cast<double>(options.decode_tokens) / decode_s);
  }
  return speed;
}

std::vector<backend::Profile::Share> kernel_shares(const model::Model& model, std::span<const int32_t> text,
                                                   const SpeedOptions& options) {
  // A replayed graph runs no LinearOp that a profile could time.
  const auto decoder = make_decoder(
      model, {.batch = 1, .capacity = options.prompt_tokens + options.decode_tokens + 1, .cuda_graph = false});
  decoder->feed(0, text.first(static_cast<size_t>(options.prompt_tokens)));
  const SamplingOptions sampling = SamplingOptions::greedy();
  decoder->start({&sampling, 1}, {}, options.decode_tokens + 1);
  decoder->next();  // the first token belongs to the prompt
  backend::Profile profile(model.device());
  for (int64_t i = 0; i < options.decode_tokens; ++i) decoder->next();
  return profile.shares();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace aqlm_exp::generate
