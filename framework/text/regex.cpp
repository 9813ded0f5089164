#include "framework/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>
#include <time.h>

#include <array>
#include <chrono>
#include <cstdint>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::text {
namespace {

constexpr size_t kMaxPatternBytes = 64 << 10;
constexpr uint32_t kMaxSteps = 1'000'000;   // of one match, plus ten for each byte: (a+)+$ stops after some 10 ms
constexpr uint32_t kMaxHeapKib = 64 << 10;  // of one match, without JIT
constexpr size_t kJitStackBytes = 1 << 20;
constexpr double kMaxSecondsPerMib =
    2.0;  // of processor time, over all matches of one text; at least one second's worth
constexpr int kMatchesPerClockCheck = 16;

// Property White_Space: PCRE2's own \s also takes U+180E, which left that property in Unicode 6.3.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
// Alphabetic, Mark, Decimal_Number, Connector_Punctuation: PCRE2's own \w lacks marks.
constexpr std::string_view kWords =
    R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{24b6}-\x{24e9}\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189})";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

std::string excerpt(std::string_view pattern) {
  return std::string(pattern.substr(0, utf8_valid_prefix(pattern.substr(0, 80)))) + (pattern.size() > 80 ? "..." : "");
}

}  // namespace

std::string pcre2_pattern_of(std::string_view pattern, std::string_view where) {
  const auto fail = [&](size_t offset, std::string_view what) {
    throw DataError(
        fmt::format("{}: regex \"{}\" at byte {}: {}; rewrite the pattern", where, excerpt(pattern), offset, what),
        "K-REGEX");
  };
  std::string out;
  bool in_class = false;
  bool class_start = false;  // right behind "[" or "[^", where "]" is a letter
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const std::string_view rest = pattern.substr(i);
    if (c == '\\') {
      if (i + 1 >= pattern.size()) fail(i, "ends in a backslash");
      const char next = pattern[++i];
      const std::string_view set = next == 's' || next == 'S'   ? kSpaces
                                   : next == 'w' || next == 'W' ? kWords
                                   : next == 'h' || next == 'H' ? kHexDigits
                                                                : std::string_view{};
      const bool negated = next == 'S' || next == 'W' || next == 'H';
      if (set.empty()) {
        out += c;
        out += next;
      } else if (!in_class) {
        out += fmt::format("[{}{}]", negated ? "^" : "", set);
      } else if (!negated) {
        out += set;
      } else if (next == 'S') {
        out += "\\S";  // a negated set inside a set has no expanded form; differs from White_Space in U+180E alone
      } else {
        fail(i, "a negated word or hexadecimal class inside [...]");
      }
      class_start = false;
      continue;
    }
    if (in_class) {
      if (rest.substr(0, 2) == "&&") fail(i, "set intersection && is not supported");
      if (c == '[' && rest.substr(0, 2) != "[:")
        fail(i, "a set inside a set is not supported; write \\[ for the letter");
      if (c == '[') {
        const size_t end = rest.find(":]");
        if (end == std::string_view::npos) fail(i, "[: without :]");
        out += rest.substr(0, end + 2);
        i += end + 1;
        class_start = false;
        continue;
      }
      if (c == ']' && !class_start) in_class = false;
      class_start = false;
      out += c;
      continue;
    }
    if (c == '[') {
      in_class = true;
      class_start = true;
      out += c;
      if (rest.substr(0, 2) == "[^") {
        out += '^';
        ++i;
      }
      continue;
    }
    if (c == '}' && i + 1 < pattern.size() && pattern[i + 1] == '+') {
      const size_t open = pattern.rfind('{', i);
      if (open != std::string_view::npos &&
          pattern.substr(open + 1, i - open - 1).find_first_not_of("0123456789,") == std::string_view::npos) {
        fail(i, "{n,m}+ means \"repeated\" in Ruby syntax and \"possessive\" elsewhere");
      }
    }
    if (rest.substr(0, 2) == "(?") {  // inline flags: Ruby's m is PCRE2's s
      size_t end = i + 2;
      while (end < pattern.size() && std::string_view("imx-").find(pattern[end]) != std::string_view::npos) ++end;
      if (end > i + 2 && end < pattern.size() && (pattern[end] == ':' || pattern[end] == ')')) {
        out += "(?";
        for (size_t k = i + 2; k < end; ++k) out += pattern[k] == 'm' ? 's' : pattern[k];
        i = end - 1;
        continue;
      }
    }
    out += c;
  }
  return out;
}

struct Regex::State {
  std::string where;
  std::string pattern;
  pcre2_code* code = nullptr;

  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { pcre2_code_free(code); }
};

Regex::Regex(std::string_view pattern, std::string_view where) : state_(std::make_unique<State>()) {
  if (pattern.size() > kMaxPatternBytes) {
    throw DataError(fmt::format("{}: regex of {} bytes, need at most {}", where, pattern.size(), kMaxPatternBytes),
                    "K-REGEX");
  }
  state_->where = where;
  state_->pattern = pcre2_pattern_of(pattern, where);
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), 64);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // Ruby's ^ and $ match at every line: MULTILINE. \C would split code points.
  state_->code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(state_->pattern.data()), state_->pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (state_->code == nullptr) {
    throw DataError(
        fmt::format("{}: regex \"{}\": {} at byte {}", where, excerpt(state_->pattern), message_of(error), offset),
        "K-REGEX");
  }
  size_t compiled = 0;
  pcre2_pattern_info(state_->code, PCRE2_INFO_SIZE, &compiled);
  if (compiled > (1 << 20)) {
    throw DataError(
        fmt::format("{}: regex \"{}\" compiles to {} bytes, need at most 1 MiB", where, excerpt(pattern), compiled),
        "K-REGEX");
  }
  pcre2_jit_compile(state_->code, PCRE2_JIT_COMPLETE);  // where it fails the interpreter gives the same matches
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& found) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(state_->code, nullptr), &pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  // Linear patterns also step back over a long run once (a megabyte of blanks before a letter).
  const auto steps =
      static_cast<uint32_t>(std::min<uint64_t>(kMaxSteps + 10 * static_cast<uint64_t>(text.size()), UINT32_MAX));
  pcre2_set_match_limit(context.get(), steps);
  pcre2_set_depth_limit(context.get(), steps);
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  const std::unique_ptr<pcre2_jit_stack, decltype(&pcre2_jit_stack_free)> stack(
      pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr), &pcre2_jit_stack_free);
  pcre2_jit_stack_assign(context.get(), nullptr, stack.get());

  const auto fail = [&](const std::string& what) {
    throw DataError(fmt::format("{}: regex \"{}\" on a text of {} bytes: {}; the pattern backtracks too much",
                                state_->where, excerpt(state_->pattern), text.size(), what),
                    "K-REGEX-LIMIT");
  };
  const double budget_s = kMaxSecondsPerMib * std::max(0.5, static_cast<double>(text.size()) / 1048576.0);
  const auto wall_start = std::chrono::steady_clock::now();
  const double cpu_start_s = thread_seconds();
  int until_check = kMatchesPerClockCheck;

  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t offset = 0;
  size_t last_end = static_cast<size_t>(-1);
  while (offset <= text.size()) {
    if (--until_check == 0) {
      until_check = kMatchesPerClockCheck;
      const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - wall_start;
      // The wall clock is cheap to read; a busy machine must not decide, so the thread's own time has the last word.
      if (wall.count() > budget_s && thread_seconds() - cpu_start_s > budget_s) {
        fail(fmt::format("more than {:.1f} s of processor time", budget_s));
      }
    }
    const int count =
        pcre2_match(state_->code, subject, text.size(), offset, PCRE2_NO_UTF_CHECK, data.get(), context.get());
    if (count == PCRE2_ERROR_NOMATCH) return;
    if (count < 0) fail(message_of(count));
    const PCRE2_SIZE* span = pcre2_get_ovector_pointer(data.get());
    const size_t begin = span[0];
    const size_t end = span[1];
    if (begin > end) fail("\\K moved a match's start behind its end");
    if (begin != end || begin != last_end) found(begin, end);
    last_end = end;
    offset = end;
    if (begin == end) {  // go on behind the next code point
      if (end >= text.size()) return;
      offset = end + utf8_decode(text, end).size_bytes;
    }
  }
}

}  // namespace aqlm_exp::text
