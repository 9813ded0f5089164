#include "framework/config/reference_text.h"

#include <fmt/format.h>

#include <utility>

namespace aqlm_exp::config {
namespace {

constexpr int kMaxDepth = 64;

struct Refused {};

bool is_blank(char c) { return c == ' ' || c == '\t'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name_char(char c) { return is_name_start(c) || (c >= '0' && c <= '9') || c == '.'; }
bool ends_step(char c) { return c == '.' || c == '[' || c == ']' || c == '}' || c == '{' || c == ':' || c == ','; }

class TextParser {
 public:
  TextParser(std::string_view text, TextFault& fault) : text_(text), fault_(fault) {}

  std::vector<TextPiece> run() { return pieces(0, text_.size()); }

 private:
  [[noreturn]] void fail(size_t offset, std::string message) {
    fault_ = {offset, std::move(message)};
    throw Refused();
  }

  std::string_view character(size_t i) const {
    size_t length = 1;
    while (i + length < text_.size() && (text_[i + length] & 0xC0) == 0x80) ++length;
    return text_.substr(i, length);
  }

  static void add_literal(std::vector<TextPiece>& out, std::string_view text, size_t offset) {
    if (text.empty()) return;
    if (out.empty() || out.back().kind != TextPiece::Kind::kLiteral) {
      TextPiece piece;
      piece.offset = offset;
      out.push_back(std::move(piece));
    }
    out.back().text += text;
  }

  /// Pieces of text_[begin, end).
  std::vector<TextPiece> pieces(size_t begin, size_t end) {
    std::vector<TextPiece> out;
    size_t i = begin;
    while (i < end) {
      size_t backslashes = 0;
      while (i + backslashes < end && text_[i + backslashes] == '\\') ++backslashes;
      const size_t at = i + backslashes;
      const bool opens = at + 1 < end && text_[at] == '$' && text_[at + 1] == '{';
      if (!opens) {
        const size_t length = backslashes > 0 ? backslashes : 1;
        add_literal(out, text_.substr(i, length), i);
        i += length;
        continue;
      }
      add_literal(out, std::string(backslashes / 2, '\\'), i);
      if (backslashes % 2 == 1) {
        add_literal(out, "${", at);
        i = at + 2;
        continue;
      }
      size_t after = at;
      out.push_back(reference(at, end, after));
      i = after;
    }
    return out;
  }

  /// Offset of the '}' that closes the "${" at `begin`; quotes inside hide brackets.
  size_t closing(size_t begin, size_t end) {
    int open = 0;
    char quote = 0;
    for (size_t i = begin; i < end; ++i) {
      const char c = text_[i];
      if (c == '\\') {
        ++i;
      } else if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (open > 0 && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == '{') {
        ++open;
      } else if (c == '}' && --open == 0) {
        return i;
      }
    }
    fail(begin, "'${' is never closed");
  }

  TextPiece reference(size_t begin, size_t limit, size_t& after) {
    if (++depth_ > kMaxDepth) fail(begin, fmt::format("references nested deeper than {} levels", kMaxDepth));
    const size_t end = closing(begin, limit);
    after = end + 1;
    TextPiece out;
    out.offset = begin;
    size_t i = begin + 2;
    while (i < end && is_blank(text_[i])) ++i;
    size_t name_end = i;
    if (i < end && is_name_start(text_[i])) {
      while (name_end < end && is_name_char(text_[name_end])) ++name_end;
    }
    if (name_end > i && name_end < end && text_[name_end] == ':') {
      out.kind = TextPiece::Kind::kCall;
      out.text = std::string(text_.substr(i, name_end - i));
      arguments(name_end + 1, end, out);
    } else {
      out.kind = TextPiece::Kind::kReference;
      size_t stop = end;
      while (stop > i && is_blank(text_[stop - 1])) --stop;
      out.text = std::string(text_.substr(i, stop - i));
      steps(i, stop, out);
    }
    --depth_;
    return out;
  }

  void steps(size_t i, size_t end, TextPiece& out) {
    const size_t begin = i;
    while (i < end && text_[i] == '.') {
      ++out.num_dots;
      ++i;
    }
    if (i == end) fail(begin, out.num_dots == 0 ? "'${}' names nothing" : "a reference of dots alone names nothing");
    bool in_bracket = false;
    for (;;) {
      in_bracket = text_[i] == '[';
      if (in_bracket) ++i;
      out.parts.push_back(one_step(i, end));
      if (in_bracket) {
        if (i >= end || text_[i] != ']') fail(i, "'[' of a reference needs a closing ']'");
        ++i;
      }
      if (i == end) return;
      if (text_[i] == '.') {
        ++i;
        if (i == end || text_[i] == '.' || text_[i] == '[') fail(i, "an empty step in a reference");
      } else if (text_[i] != '[') {
        fail(i, fmt::format("'{}' is not expected in a reference", character(i)));
      }
    }
  }

  std::vector<TextPiece> one_step(size_t& i, size_t end) {
    std::vector<TextPiece> step;
    const size_t begin = i;
    while (i < end) {
      if (text_[i] == '$' && i + 1 < end && text_[i + 1] == '{') {
        size_t after = i;
        step.push_back(reference(i, end, after));
        i = after;
      } else if (ends_step(text_[i])) {
        break;
      } else if (is_blank(text_[i]) || text_[i] == '\'' || text_[i] == '"' || text_[i] == '\\' || text_[i] == '\n') {
        fail(i, fmt::format("'{}' is not expected in a reference", character(i)));
      } else {
        add_literal(step, text_.substr(i, 1), i);
        ++i;
      }
    }
    if (i == begin) fail(i, "an empty step in a reference");
    return step;
  }

  void arguments(size_t begin, size_t end, TextPiece& out) {
    size_t first = begin;
    while (first < end && is_blank(text_[first])) ++first;
    if (first == end) return;  // no argument
    int open = 0;
    char quote = 0;
    size_t start = begin;
    for (size_t i = begin; i <= end; ++i) {
      const char c = i < end ? text_[i] : ',';
      if (i < end && c == '\\') {
        ++i;
        continue;
      }
      if (i < end && quote != 0) {
        if (c == quote) quote = 0;
      } else if (i < end && (c == '\'' || c == '"')) {
        quote = c;
      } else if (i < end && (c == '{' || c == '[')) {
        ++open;
      } else if (i < end && (c == '}' || c == ']')) {
        --open;
      } else if (c == ',' && (open == 0 || i >= end)) {
        argument(start, std::min(i, end), out);
        start = i + 1;
      }
    }
    if (start <= end) argument(start, end, out);
  }

  void argument(size_t begin, size_t end, TextPiece& out) {
    while (begin < end && is_blank(text_[begin])) ++begin;
    while (end > begin && is_blank(text_[end - 1])) --end;
    out.parts.push_back(pieces(begin, end));
  }

  std::string_view text_;
  TextFault& fault_;
  int depth_ = 0;
};

}  // namespace

std::optional<std::vector<TextPiece>> parse_text(std::string_view text, TextFault& fault) {
  try {
    return TextParser(text, fault).run();
  } catch (const Refused&) {
    return std::nullopt;
  }
}

}  // namespace aqlm_exp::config
