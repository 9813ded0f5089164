#include "framework/generate/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "framework/base/error.h"
#include "framework/base/timer.h"

namespace aqlm_exp::generate {

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0.0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double standard_deviation(const std::vector<double>& values) {
  if (values.size() < 2) return 0.0;
  const double middle = mean(values);
  double sum = 0;
  for (const double value : values) sum += (value - middle) * (value - middle);
  return std::sqrt(sum / static_cast<double>(values.size() - 1));
}

double Repeats::mean_s() const { return mean(seconds); }
double Repeats::std_s() const { return standard_deviation(seconds); }
double Repeats::min_s() const { return seconds.empty() ? 0.0 : *std::min_element(seconds.begin(), seconds.end()); }

std::string SpeedTest::name() const {
  std::string text = fmt::format("{}{}", kind == Kind::kPrefill ? "pp" : "tg", tokens);
  if (depth > 0) text += fmt::format(" @ d{}", depth);
  return text;
}

double run_speed_test(Decoder& decoder, const SpeedTest& test, std::span<const int32_t> text) {
  const bool prefill = test.kind == SpeedTest::Kind::kPrefill;
  const int64_t before = prefill ? test.depth : std::max<int64_t>(1, test.depth);
  const int64_t needed = before + (prefill ? test.tokens : 0);
  if (static_cast<int64_t>(text.size()) < needed) {
    throw DataError(fmt::format("[speed] {}: the text has {} tokens, need {}", test.name(), text.size(), needed));
  }
  if (before + test.tokens > decoder.capacity()) {
    throw DataError(fmt::format("[speed] {}: {} tokens do not fit a context of {}; raise --context or take fewer",
                                test.name(), before + test.tokens, decoder.capacity()));
  }
  for (int64_t i = 0; i < decoder.batch(); ++i) {
    decoder.truncate(i, 0);
    if (before > 0) decoder.feed(i, text.first(static_cast<size_t>(before)));
  }
  if (prefill) {
    decoder.finish();
    const Stopwatch watch;
    for (int64_t i = 0; i < decoder.batch(); ++i) {
      decoder.feed(i, text.subspan(static_cast<size_t>(before), static_cast<size_t>(test.tokens)));
    }
    decoder.finish();
    return watch.elapsed_s();
  }
  // The first token comes from the prompt's logits; each of the others takes one step.
  const std::vector<SamplingOptions> sampling(static_cast<size_t>(decoder.batch()), SamplingOptions::greedy());
  decoder.start(sampling, {}, test.tokens + 1);
  decoder.next();
  const Stopwatch watch;
  for (int64_t i = 0; i < test.tokens; ++i) decoder.next();
  decoder.finish();
  return watch.elapsed_s();
}

QuestionRun ask(Decoder& decoder, std::span<const int32_t> prompt, const GenerateOptions& options) {
  const std::vector<int32_t> tokens(prompt.begin(), prompt.end());
  const Stopwatch watch;
  const Answer answer = std::move(generate(decoder, {&tokens, 1}, options)[0]);
  return {.total_s = watch.elapsed_s(),
          .prefill_s = answer.prefill_s,
          .decode_s = answer.decode_s,
          .prompt_tokens = answer.prompt_tokens,
          .new_tokens = static_cast<int64_t>(answer.tokens.size()),
          .tokens = answer.tokens};
}

}  // namespace aqlm_exp::generate
