#include "framework/eval/convention.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "framework/base/error.h"

namespace aqlm_exp::eval {
namespace {

constexpr const char* kKnown = "gptq-2048, llamacpp-512, hqq-1024/512, word-2048, each with \" first-N\" for N windows";

std::optional<int64_t> number(std::string_view text, int64_t min, int64_t max) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) return std::nullopt;
  return value;
}

}  // namespace

std::string Convention::tag() const {
  const std::string windows =
      name == "hqq" ? fmt::format("{}-{}/{}", name, seq_len, stride) : fmt::format("{}-{}", name, seq_len);
  return max_windows > 0 ? fmt::format("{} first-{}", windows, max_windows) : windows;
}

std::string Convention::slug() const {
  std::string slug = tag();
  for (char& c : slug) {
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) c = '_';
  }
  return slug;
}

std::string Convention::description() const {
  const std::string first = max_windows > 0 ? fmt::format("first {} ", max_windows) : "";
  if (name == "llamacpp") {
    return fmt::format(
        "{}windows of {} tokens without overlap, first token replaced by BOS if the tokenizer adds one; the {} "
        "predictions of each second half averaged, then exp",
        first, seq_len, seq_len - 1 - seq_len / 2);
  }
  if (name == "hqq") {
    return fmt::format(
        "{}steps of {} tokens, each predicted behind up to {} tokens of context; means of steps weighted by their "
        "tokens, then exp",
        first, stride, seq_len - stride);
  }
  if (name == "word") {
    return fmt::format(
        "{}windows of at most {} tokens of whole detokenised documents, every token predicted, behind BOS or else EOS; "
        "sum "
        "of losses over words of the raw documents, then exp",
        first, seq_len);
  }
  return fmt::format(
      "{}windows of {} tokens, stride {}, BOS only if the tokenizer adds it to the text; each window's {} predictions "
      "averaged, then windows, then exp",
      first, seq_len, stride, seq_len - 1);
}

Convention convention_from_tag(std::string_view tag) {
  const auto refuse = [&]() -> ConfigError {
    return ConfigError(fmt::format("convention: got \"{}\", need one like {}", tag, kKnown));
  };
  Convention convention;
  std::string_view rest = tag;
  if (const size_t blank = rest.find(' '); blank != std::string_view::npos) {
    const std::string_view limit = rest.substr(blank + 1);
    if (!limit.starts_with("first-")) throw refuse();
    const auto windows = number(limit.substr(6), 1, int64_t{1} << 40);
    if (!windows) throw refuse();
    convention.max_windows = *windows;
    rest = rest.substr(0, blank);
  }
  const size_t dash = rest.find('-');
  if (dash == std::string_view::npos) throw refuse();
  convention.name = rest.substr(0, dash);
  std::string_view sizes = rest.substr(dash + 1);
  std::optional<int64_t> stride;
  if (convention.name == "hqq") {
    const size_t slash = sizes.find('/');
    if (slash == std::string_view::npos) throw refuse();
    stride = number(sizes.substr(slash + 1), 1, 1 << 20);
    if (!stride) throw refuse();
    sizes = sizes.substr(0, slash);
  } else if (convention.name != "gptq" && convention.name != "llamacpp" && convention.name != "word") {
    throw refuse();
  }
  const auto seq_len = number(sizes, convention.name == "llamacpp" ? 4 : 2, 1 << 20);
  if (!seq_len || (stride && *stride > *seq_len)) throw refuse();
  convention.seq_len = *seq_len;
  convention.stride = stride.value_or(*seq_len);
  return convention;
}

Convention read_convention(config::Reader& in) {
  Convention convention;
  convention.name = in.text("convention", {.fallback = "gptq",
                                           .choices = {"gptq", "llamacpp", "hqq", "word"},
                                           .doc = "how text becomes windows and losses become perplexity"});
  convention.seq_len =
      in.integer("seq_len", {.fallback = 1024, .min = 4, .max = 1 << 20, .unit = "tokens", .doc = "window"});
  convention.stride = convention.name == "hqq" ? convention.seq_len / 2 : convention.seq_len;
  convention.max_windows = in.integer("max_windows", {.fallback = 0, .min = 0, .doc = "first windows only; 0: all"});
  return convention;
}

std::vector<Convention> read_further_conventions(config::Reader& in, const Convention& first) {
  std::vector<Convention> conventions;
  for (const std::string& tag :
       in.texts("also",
                {.doc = "further conventions for the same text: gptq-2048, llamacpp-512, hqq-1024/512, word-2048"})) {
    const Convention convention = convention_from_tag(tag);
    if (convention == first || std::find(conventions.begin(), conventions.end(), convention) != conventions.end()) {
      throw ConfigError(fmt::format("eval.also: {} is asked for twice", convention.tag()));
    }
    conventions.push_back(convention);
  }
  return conventions;
}

void require_same_convention(std::string_view tag_a, std::string_view tag_b) {
  if (tag_a == tag_b) return;
  throw DataError(fmt::format(
      "[compare] got figures under {} and {}, need one convention: their perplexities differ for the same model", tag_a,
      tag_b));
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
