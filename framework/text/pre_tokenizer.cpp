#include "framework/text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "framework/base/utf8.h"
#include "framework/text/byte_level.h"
#include "framework/text/normalizer.h"
#include "framework/text/pattern.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::text {
namespace {

// The pattern of GPT-2, which ByteLevel applies itself unless use_regex is off.
constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Cuts every piece at the matches of a pattern.
void split_pieces(Pieces& pieces, const Pattern& pattern, SplitBehavior behavior, bool invert) {
  std::vector<Range> ranges;
  for (const Range& range : pieces.ranges) {
    std::vector<Cut> cuts = cut_at(pieces.at(range), pattern);
    if (invert) {
      for (Cut& cut : cuts) cut.is_match = !cut.is_match;
    }
    split_cuts(cuts, behavior, range.begin, ranges);
  }
  pieces.ranges = std::move(ranges);
}

/// Cuts every piece at code points of one kind.
template <typename IsMatch>
void split_at_code_points(Pieces& pieces, SplitBehavior behavior, const IsMatch& is_match) {
  std::vector<Range> ranges;
  for (const Range& range : pieces.ranges) {
    const std::string_view text = pieces.at(range);
    std::vector<Cut> cuts;
    for (size_t offset = 0; offset < text.size();) {
      const CodePoint c = utf8_decode(text, offset);
      const bool match = is_match(c.value);
      if (!match && !cuts.empty() && !cuts.back().is_match) {
        cuts.back().range.end += c.size_bytes;
      } else {
        cuts.push_back({{offset, offset + c.size_bytes}, match});
      }
      offset += c.size_bytes;
    }
    split_cuts(cuts, behavior, range.begin, ranges);
  }
  pieces.ranges = std::move(ranges);
}

/// Writes every piece anew.
template <typename Rewrite>
void rewrite_pieces(Pieces& pieces, const Rewrite& rewrite) {
  std::string text;
  text.reserve(pieces.text.size() + pieces.text.size() / 4);
  for (Range& range : pieces.ranges) {
    const size_t begin = text.size();
    rewrite(range, text);
    check_growth(text.size(), pieces.max_bytes);
    range = {begin, text.size()};
  }
  pieces.text = std::move(text);
}

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex)
      : add_prefix_space_(add_prefix_space), use_regex_(use_regex), pattern_(Regex(kGpt2Pattern, "ByteLevel")) {}
  void apply(Pieces& pieces) const override {
    if (add_prefix_space_) {
      rewrite_pieces(pieces, [&](const Range& range, std::string& out) {
        const std::string_view piece = pieces.at(range);
        if (piece.front() != ' ') out += ' ';
        out += piece;
      });
    }
    if (use_regex_) split_pieces(pieces, pattern_, SplitBehavior::kIsolated, /*invert=*/false);
    rewrite_pieces(pieces, [&](const Range& range, std::string& out) { append_byte_level(out, pieces.at(range)); });
  }

 private:
  bool add_prefix_space_;
  bool use_regex_;
  Pattern pattern_;
};

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(Pieces& pieces) const override { split_pieces(pieces, pattern_, behavior_, invert_); }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class Metaspace final : public PreTokenizer {
 public:
  explicit Metaspace(MetaspaceOptions options)
      : options_(std::move(options)), separator_(Pattern(options_.replacement)) {}
  void apply(Pieces& pieces) const override {
    const bool first_is_start = pieces.starts_input && !pieces.ranges.empty() && pieces.ranges.front().begin == 0;
    bool first = true;
    rewrite_pieces(pieces, [&](const Range& range, std::string& out) {
      const std::string_view piece = pieces.at(range);
      const bool starts = piece.front() == ' ' || piece.substr(0, options_.replacement.size()) == options_.replacement;
      const bool prepend = options_.prepend == PrependScheme::kAlways ||
                           (options_.prepend == PrependScheme::kFirst && first && first_is_start);
      if (prepend && !starts) out += options_.replacement;
      for (char c : piece) {
        if (c == ' ') {
          out += options_.replacement;
        } else {
          out += c;
        }
      }
      first = false;
    });
    if (options_.split) split_pieces(pieces, separator_, SplitBehavior::kMergedWithNext, /*invert=*/false);
  }

 private:
  MetaspaceOptions options_;
  Pattern separator_;
};

class Digits final : public PreTokenizer {
 public:
  explicit Digits(bool individual) : behavior_(individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous) {}
  void apply(Pieces& pieces) const override { split_at_code_points(pieces, behavior_, is_numeric); }

 private:
  SplitBehavior behavior_;
};

class Punctuation final : public PreTokenizer {
 public:
  explicit Punctuation(SplitBehavior behavior) : behavior_(behavior) {}
  void apply(Pieces& pieces) const override { split_at_code_points(pieces, behavior_, is_punctuation); }

 private:
  SplitBehavior behavior_;
};

/// Runs of word characters and runs of what is neither word nor white space: \w+|[^\w\s]+.
class Whitespace final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    enum class Kind { kSpace, kWord, kOther };
    std::vector<Range> ranges;
    for (const Range& range : pieces.ranges) {
      Kind last = Kind::kSpace;
      for (size_t offset = range.begin; offset < range.end;) {
        const CodePoint c = utf8_decode(pieces.text, offset);
        const Kind kind = is_word(c.value) ? Kind::kWord : is_space(c.value) ? Kind::kSpace : Kind::kOther;
        if (kind != Kind::kSpace && kind != last) ranges.push_back({offset, offset});
        if (kind != Kind::kSpace) ranges.back().end = offset + c.size_bytes;
        last = kind;
        offset += c.size_bytes;
      }
    }
    pieces.ranges = std::move(ranges);
  }
};

class WhitespaceSplit final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override { split_at_code_points(pieces, SplitBehavior::kRemoved, is_space); }
};

class CharDelimiterSplit final : public PreTokenizer {
 public:
  explicit CharDelimiterSplit(char32_t delimiter) : delimiter_(delimiter) {}
  void apply(Pieces& pieces) const override {
    split_at_code_points(pieces, SplitBehavior::kRemoved, [&](char32_t c) { return c == delimiter_; });
  }

 private:
  char32_t delimiter_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void apply(Pieces& pieces) const override {
    for (const auto& step : steps_) step->apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

SplitBehavior read_behavior(const JsonFields& in, std::string_view fallback) {
  const std::string name = in.text_or("behavior", fallback);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  in.fail("behavior", "UNKNOWN",
          fmt::format("unknown \"{}\"; known: Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous",
                      name.substr(0, 64)));
}

std::string read_one_code_point(const JsonFields& in, std::string_view key, std::string_view fallback) {
  const std::string text = in.text_or(key, fallback);
  if (text.empty() || utf8_decode(text, 0).size_bytes != text.size()) in.fail(key, "RANGE", "need one code point");
  return text;
}

std::unique_ptr<PreTokenizer> make(const JsonFields& in, int depth) {
  if (depth > kMaxNestedSteps) in.fail("type", "NESTED", fmt::format("nested deeper than {} levels", kMaxNestedSteps));
  const std::string type = in.text("type");
  if (type == "ByteLevel") {
    return std::make_unique<ByteLevel>(in.boolean_or("add_prefix_space", true), in.boolean_or("use_regex", true));
  }
  if (type == "Split") {
    return std::make_unique<Split>(Pattern(in), read_behavior(in, "Removed"), in.boolean_or("invert", false));
  }
  if (type == "Metaspace") return std::make_unique<Metaspace>(read_metaspace(in));
  if (type == "Digits") return std::make_unique<Digits>(in.boolean_or("individual_digits", false));
  if (type == "Punctuation") return std::make_unique<Punctuation>(read_behavior(in, "Isolated"));
  if (type == "Whitespace") return std::make_unique<Whitespace>();
  if (type == "WhitespaceSplit") return std::make_unique<WhitespaceSplit>();
  if (type == "CharDelimiterSplit") {
    in.require("delimiter");
    return std::make_unique<CharDelimiterSplit>(utf8_decode(read_one_code_point(in, "delimiter", ""), 0).value);
  }
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PreTokenizer>> steps;
    size_t index = 0;
    for (const auto& step : in.array("pretokenizers", kMaxNestedSteps)) {
      steps.push_back(make(
          JsonFields(step, in.where(), fmt::format("{}.{}", in.path_of("pretokenizers"), index++), "K"), depth + 1));
    }
    return std::make_unique<Sequence>(std::move(steps));
  }
  in.fail(
      "type", "UNKNOWN",
      fmt::format("unknown pre-tokenizer \"{}\"; known: ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, "
                  "WhitespaceSplit, CharDelimiterSplit, Sequence",
                  type.substr(0, 64)));
}

}  // namespace

MetaspaceOptions read_metaspace(const JsonFields& in) {
  MetaspaceOptions options;
  options.replacement = read_one_code_point(in, "replacement", "\xE2\x96\x81");
  options.split = in.boolean_or("split", true);
  const std::string scheme = in.has("prepend_scheme")                  ? in.text("prepend_scheme")
                             : in.boolean_or("add_prefix_space", true) ? "always"
                                                                       : "never";
  if (scheme == "always") {
    options.prepend = PrependScheme::kAlways;
  } else if (scheme == "first") {
    options.prepend = PrependScheme::kFirst;
  } else if (scheme == "never") {
    options.prepend = PrependScheme::kNever;
  } else {
    in.fail("prepend_scheme", "UNKNOWN",
            fmt::format("unknown \"{}\"; known: always, first, never", scheme.substr(0, 64)));
  }
  return options;
}

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const JsonFields& in) { return make(in, 1); }

}  // namespace aqlm_exp::text
