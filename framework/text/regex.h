// Regular expressions of tokenizers through PCRE2, with limits: a hostile pattern ends with an error, not with a hang.
// Patterns are written for Oniguruma (Ruby syntax), which Hugging Face's library uses; what reads differently in PCRE2
// is rewritten (`\s`, `\w`, `\h`, `(?m)`) or refused (set intersections, nested sets, `{n,m}+`).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace aqlm_exp::text {

class Regex {
 public:
  /// @throws DataError (K-REGEX) if the pattern is wrong, too large, or means something else in PCRE2
  Regex(std::string_view pattern, std::string_view where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Calls `found(begin, end)` for each match from left to right; matches do not overlap, and an empty one right after
  /// a match is left out.
  /// @param text  valid UTF-8
  /// @throws DataError (K-REGEX-LIMIT) if a match needs too many steps or memory, or all of them too much processor
  /// time
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& found) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The pattern as PCRE2 needs it. @throws DataError (K-REGEX)
std::string pcre2_pattern_of(std::string_view oniguruma, std::string_view where);

}  // namespace aqlm_exp::text
