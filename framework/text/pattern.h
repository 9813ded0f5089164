// What a normaliser, pre-tokenizer or decoder looks for: a plain string or a regex.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "framework/base/json_fields.h"
#include "framework/text/pieces.h"
#include "framework/text/regex.h"

namespace aqlm_exp::text {

class Pattern {
 public:
  /// @param in  the object that holds `pattern`: {"String": ...} or {"Regex": ...}
  explicit Pattern(const JsonFields& in);
  explicit Pattern(Regex regex) : regex_(std::move(regex)) {}
  explicit Pattern(std::string literal) : literal_(std::move(literal)) {}

  /// Matches from left to right, not overlapping.
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& found) const;
  /// Every match replaced by `content`. @throws DataError (K-LIMIT) if the result exceeds max_bytes
  std::string replace_all(std::string_view text, std::string_view content, size_t max_bytes) const;

 private:
  std::string literal_;  // if regex_ is empty
  std::optional<Regex> regex_;
};

/// What becomes of the matches when a text is cut at them.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// A cut of a text into alternating matches and the rest.
struct Cut {
  Range range;
  bool is_match;
};
/// All of `text` as matches and what lies between them.
std::vector<Cut> cut_at(std::string_view text, const Pattern& pattern);
/// Appends the pieces that remain by `behavior`, each moved by `base`.
void split_cuts(const std::vector<Cut>& cuts, SplitBehavior behavior, size_t base, std::vector<Range>& out);

}  // namespace aqlm_exp::text
