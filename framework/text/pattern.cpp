#include "framework/text/pattern.h"

#include <fmt/format.h>

#include "framework/base/error.h"

namespace aqlm_exp::text {
namespace {

constexpr size_t kMaxLiteralBytes = 4096;

}  // namespace

void check_growth(size_t size_bytes, size_t max_bytes) {
  if (size_bytes <= max_bytes) return;
  throw DataError(
      fmt::format("tokenizer: text grows beyond {} bytes while it is normalised; check its Replace, Prepend and "
                  "ByteLevel steps",
                  max_bytes),
      "K-LIMIT");
}

Pattern::Pattern(const JsonFields& in) {
  const JsonFields pattern = in.object("pattern");
  if (pattern.has("Regex")) {
    regex_.emplace(pattern.text("Regex"), fmt::format("{}: {}", in.where(), pattern.path_of("Regex")));
    return;
  }
  literal_ = pattern.text("String");
  if (literal_.empty() || literal_.size() > kMaxLiteralBytes) {
    pattern.fail("String", "RANGE", fmt::format("got {} bytes, need 1 to {}", literal_.size(), kMaxLiteralBytes));
  }
}

void Pattern::for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& found) const {
  if (regex_) {
    regex_->for_each_match(text, found);
    return;
  }
  for (size_t begin = text.find(literal_); begin != std::string_view::npos;
       begin = text.find(literal_, begin + literal_.size())) {
    found(begin, begin + literal_.size());
  }
}

std::string Pattern::replace_all(std::string_view text, std::string_view content, size_t max_bytes) const {
  std::string out;
  size_t copied = 0;
  for_each_match(text, [&](size_t begin, size_t end) {
    out.append(text.substr(copied, begin - copied));
    out.append(content);
    check_growth(out.size(), max_bytes);
    copied = end;
  });
  if (copied == 0 && out.empty()) return std::string(text);
  out.append(text.substr(copied));
  check_growth(out.size(), max_bytes);
  return out;
}

std::vector<Cut> cut_at(std::string_view text, const Pattern& pattern) {
  std::vector<Cut> cuts;
  size_t previous = 0;
  pattern.for_each_match(text, [&](size_t begin, size_t end) {
    if (previous != begin) cuts.push_back({{previous, begin}, false});
    cuts.push_back({{begin, end}, true});
    previous = end;
  });
  if (previous != text.size()) cuts.push_back({{previous, text.size()}, false});
  return cuts;
}

void split_cuts(const std::vector<Cut>& cuts, SplitBehavior behavior, size_t base, std::vector<Range>& out) {
  const auto push = [&](size_t begin, size_t end) {
    if (begin < end) out.push_back({base + begin, base + end});
  };
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Cut& cut : cuts) push(cut.range.begin, cut.range.end);
      break;
    case SplitBehavior::kRemoved:
      for (const Cut& cut : cuts) {
        if (!cut.is_match) push(cut.range.begin, cut.range.end);
      }
      break;
    case SplitBehavior::kContiguous: {
      for (size_t i = 0; i < cuts.size();) {
        size_t last = i;
        while (last + 1 < cuts.size() && cuts[last + 1].is_match == cuts[i].is_match) ++last;
        push(cuts[i].range.begin, cuts[last].range.end);
        i = last + 1;
      }
      break;
    }
    case SplitBehavior::kMergedWithPrevious: {  // a match joins the piece before it, unless that is a match too
      for (size_t i = 0; i < cuts.size();) {
        const bool joins = !cuts[i].is_match && i + 1 < cuts.size() && cuts[i + 1].is_match;
        push(cuts[i].range.begin, cuts[joins ? i + 1 : i].range.end);
        i += joins ? 2 : 1;
      }
      break;
    }
    case SplitBehavior::kMergedWithNext: {  // a match joins the piece behind it, unless that is a match too
      for (size_t i = 0; i < cuts.size();) {
        const bool joins = cuts[i].is_match && i + 1 < cuts.size() && !cuts[i + 1].is_match;
        push(cuts[i].range.begin, cuts[joins ? i + 1 : i].range.end);
        i += joins ? 2 : 1;
      }
      break;
    }
  }
}

}  // namespace aqlm_exp::text
