#include "framework/eval/convention.h"

#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::eval {

std::string Convention::tag() const {
  return max_windows > 0 ? fmt::format("{}-{} first-{}", name, seq_len, max_windows)
                         : fmt::format("{}-{}", name, seq_len);
}

std::string Convention::description() const {
  return fmt::format(
      "{}windows of {} tokens, stride {}, no BOS added; each window's {} predictions averaged, then windows, then exp",
      max_windows > 0 ? fmt::format("first {} ", max_windows) : "", seq_len, stride, seq_len - 1);
}

Convention read_convention(config::Reader& in) {
  Convention convention;
  convention.name = in.text(
      "convention",
      {.fallback = "gptq", .choices = {"gptq"}, .doc = "how text becomes windows and losses become perplexity"});
  convention.seq_len =
      in.integer("seq_len", {.fallback = 1024, .min = 2, .max = 1 << 20, .unit = "tokens", .doc = "window"});
  convention.stride = convention.seq_len;
  convention.max_windows = in.integer("max_windows", {.fallback = 0, .min = 0, .doc = "first windows only; 0: all"});
  return convention;
}

std::vector<int64_t> window_starts(const Convention& convention, int64_t num_tokens) {
  std::vector<int64_t> starts;
  for (int64_t start = 0; start + convention.seq_len <= num_tokens; start += convention.stride) {
    if (convention.max_windows > 0 && static_cast<int64_t>(starts.size()) == convention.max_windows) break;
    starts.push_back(start);
  }
  if (starts.empty()) {
    throw DataError(
        fmt::format("[eval] the text has {} tokens, a window needs {}; use a longer text or a smaller seq_len",
                    num_tokens, convention.seq_len));
  }
  return starts;
}

}  // namespace aqlm_exp::eval
