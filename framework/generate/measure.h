// How fast a model answers: prompts and answers of chosen lengths, and one question asked again and again.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "framework/generate/generate.h"

namespace aqlm_exp::generate {

/// Repeats of one measurement.
struct Repeats {
  std::vector<double> seconds;
  double mean_s() const;
  double std_s() const;  ///< of a sample (n - 1); 0 for one
  double min_s() const;
};

/// Mean and sample standard deviation of values.
double mean(const std::vector<double>& values);
double standard_deviation(const std::vector<double>& values);

struct SpeedTest {
  enum class Kind { kPrefill, kDecode } kind = Kind::kPrefill;
  int64_t tokens = 0;  ///< of the prompt (prefill), of the answer (decode)
  int64_t depth = 0;   ///< tokens in the cache before; decode: at least 1
  /// llama-bench's names: "pp512", "tg128", "tg128 @ d1024".
  std::string name() const;
};

/// One run: seconds for the test's tokens, the device's work included.
/// @param text at least test.depth + test.tokens (prefill) or max(1, depth) tokens (decode), to be fed
double run_speed_test(Decoder& decoder, const SpeedTest& test, std::span<const int32_t> text);

/// A question answered once.
struct QuestionRun {
  double total_s = 0, prefill_s = 0, decode_s = 0;
  int64_t prompt_tokens = 0, new_tokens = 0;
  std::vector<int32_t> tokens;
};
/// Nothing is reused from a run before.
QuestionRun ask(Decoder& decoder, std::span<const int32_t> prompt, const GenerateOptions& options);

}  // namespace aqlm_exp::generate
