#include "framework/config/override_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "framework/base/error.h"
#include "framework/config/override_text.h"
#include "framework/config/scalar.h"

namespace aqlm_exp::config {
namespace {

constexpr int kMaxDepth = 64;
constexpr size_t kMaxBytes = size_t{1} << 20;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_identifier_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_identifier_char(char c) { return is_identifier_start(c) || is_digit(c) || c == '-'; }

bool is_index(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), is_digit) && (part.size() == 1 || part[0] != '0');
}

bool is_identifier(std::string_view part) {
  return !part.empty() && is_identifier_start(part[0]) && std::all_of(part.begin(), part.end(), is_identifier_char);
}

/// Leaves the parser; the problem has been recorded.
struct SyntaxFault {};

/// Where inside a value a bare text stands: decides which characters end it.
enum class Place { kTop, kInside, kMapKey };

class Parser {
 public:
  Parser(std::string_view text, const Mark& base, std::vector<Problem>& problems)
      : text_(text), base_(base), problems_(problems) {}

  Override override() {
    check_text();
    Override out;
    out.text = std::string(text_);
    out.mark = mark_at(0);
    if (at("++")) {
      out.kind = Override::Kind::kForce;
      pos_ = 2;
    } else if (at("+")) {
      out.kind = Override::Kind::kAdd;
      pos_ = 1;
    } else if (at("~")) {
      out.kind = Override::Kind::kDelete;
      pos_ = 1;
    }
    key(out);
    if (pos_ == text_.size()) {
      if (out.kind == Override::Kind::kDelete) return out;
      fail(pos_, "O101", fmt::format("'{}' has no '='", text_),
           fmt::format("write {}=VALUE, or ~{} to delete the key", text_, out.key));
    }
    ++pos_;  // '='
    out.has_value = true;
    out.value_mark = mark_at(pos_);
    out.elements = value();
    return out;
  }

  std::vector<Element> value_only() {
    check_text();
    return value();
  }

 private:
  [[noreturn]] void fail(size_t offset, const char* code, std::string message, std::string help = {}, int length = 1) {
    Problem problem{code, mark_at(offset), {}, std::move(message), std::move(help)};
    problem.length = length;
    problems_.push_back(std::move(problem));
    throw SyntaxFault();
  }

  Mark mark_at(size_t offset) const {
    int characters = 0;
    for (size_t i = 0; i < offset && i < text_.size(); ++i) characters += (text_[i] & 0xC0) != 0x80 ? 1 : 0;
    return {base_.source, base_.line, base_.column + characters};
  }

  bool at(std::string_view what) const { return text_.substr(pos_, what.size()) == what; }
  bool done() const { return pos_ >= text_.size(); }
  void skip_blanks() {
    while (!done() && is_override_blank(text_[pos_])) ++pos_;
  }

  void check_text() {
    size_t offset = 0;
    if (text_.size() > kMaxBytes)
      fail(0, "O101", fmt::format("override of {} bytes, need at most {}", text_.size(), kMaxBytes));
    if (!is_utf8(text_, offset)) fail(offset, "O101", "the override is no UTF-8");
    for (size_t i = 0; i < text_.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text_[i]);
      if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) {
        fail(i, "O101", fmt::format("control character 0x{:02x}", byte), "remove it");
      }
    }
  }

  /// Reads up to '=' or the end: dotted parts, or group/sub[@package].
  void key(Override& out) {
    const size_t begin = pos_;
    const size_t end = std::min(text_.find('=', begin), text_.size());
    std::string_view name = text_.substr(begin, end - begin);
    if (name.empty()) fail(begin, "O101", "no key in front of '='", "write KEY=VALUE");
    const size_t sign = name.find('@');
    if (sign != std::string_view::npos) {
      const std::string_view package = name.substr(sign + 1);
      if (package.find(':') != std::string_view::npos) {
        fail(begin + sign, "O101", "group@old:new renames are not supported", "write ~group@old and +group@new=option");
      }
      check_parts(package, '.', begin + sign + 1, "package");
      out.package = std::string(package);
      name = name.substr(0, sign);
    }
    check_parts(name, name.find('/') != std::string_view::npos || sign != std::string_view::npos ? '/' : '.', begin,
                "key");
    out.key = std::string(name);
    pos_ = end;
  }

  void check_parts(std::string_view name, char separator, size_t offset, const char* what) {
    size_t begin = 0;
    for (;;) {
      const size_t end = std::min(name.find(separator, begin), name.size());
      const std::string_view part = name.substr(begin, end - begin);
      const bool valid =
          is_identifier(part) || (separator == '.' && is_index(part)) ||
          (separator == '/' && !part.empty() && part.find_first_not_of(".") != std::string_view::npos &&
           std::all_of(part.begin(), part.end(), [](char c) { return is_identifier_char(c) || c == '.'; }));
      if (!valid) {
        const std::string shown(part);
        fail(offset + begin, "O101",
             part.empty() ? fmt::format("empty part in {} '{}'", what, name)
                          : fmt::format("'{}' is no {} part, need a name or a list index", shown, what),
             "keys look like a.b.c, xs.0, group/sub or group@package",
             static_cast<int>(std::max<size_t>(part.size(), 1)));
      }
      if (end == name.size()) return;
      begin = end + 1;
    }
  }

  std::vector<Element> value() {
    skip_blanks();
    if (done()) return {empty_string()};
    std::vector<Element> out;
    for (;;) {
      out.push_back(element(Place::kTop, 0));
      skip_blanks();
      if (done()) return out;
      if (text_[pos_] != ',') unexpected();
      ++pos_;
      skip_blanks();
      if (done()) fail(pos_ - 1, "O101", "nothing behind the last ','", "remove it, or write \\, for a comma in text");
    }
  }

  Element empty_string() const {
    Element out;
    out.mark = mark_at(pos_);
    out.value = Node::string("", out.mark);
    return out;
  }

  /// The whole character at the current place.
  std::string_view character() const {
    size_t length = 1;
    while (pos_ + length < text_.size() && (text_[pos_ + length] & 0xC0) == 0x80) ++length;
    return text_.substr(pos_, length);
  }

  [[noreturn]] void unexpected() {
    const char before = pos_ > 0 ? text_[pos_ - 1] : ' ';
    if (before == '"' || before == '\'' || is_override_blank(before)) {
      fail(pos_, "O101", fmt::format("'{}' follows a complete value", character()), "quote the whole value: key='...'");
    }
    fail(pos_, "O101", fmt::format("'{}' is not expected here", character()),
         fmt::format("write \\{} for the character itself, or quote the value", character()));
  }

  Element element(Place place, int depth) {
    if (depth > kMaxDepth) fail(pos_, "O101", fmt::format("nested deeper than {} levels", kMaxDepth));
    skip_blanks();
    if (done()) fail(text_.size(), "O101", "a value is missing at the end");
    switch (text_[pos_]) {
      case '\'':
      case '"':
        return quoted();
      case '[':
        return list(depth);
      case '{':
        return map(depth);
      default:
        return bare_or_call(place, depth);
    }
  }

  Element quoted() {
    Element out;
    out.kind = Element::Kind::kQuoted;
    out.mark = mark_at(pos_);
    const size_t begin = pos_;
    out.quote = text_[pos_++];
    std::string content;
    for (;;) {
      if (done())
        fail(begin, "O101", fmt::format("the quote {} is never closed", out.quote),
             fmt::format("end the value with {}", out.quote));
      const char c = text_[pos_];
      if (c == '\\') {
        // Backslashes in front of a quote halve; elsewhere they stay, so that Windows paths and regexes survive.
        size_t count = 0;
        while (pos_ + count < text_.size() && text_[pos_ + count] == '\\') ++count;
        const bool before_quote = pos_ + count < text_.size() && text_[pos_ + count] == out.quote;
        content.append(before_quote ? count / 2 : count, '\\');
        pos_ += count;
        if (before_quote && count % 2 == 1) content.push_back(text_[pos_++]);
      } else if (c == out.quote) {
        ++pos_;
        break;
      } else {
        content.push_back(c);
        ++pos_;
      }
    }
    out.value = Node::string(std::move(content), out.mark);
    return out;
  }

  Element list(int depth) {
    Element out;
    out.kind = Element::Kind::kList;
    out.mark = mark_at(pos_);
    const size_t begin = pos_++;
    skip_blanks();
    if (!done() && text_[pos_] == ']') {
      ++pos_;
      return out;
    }
    for (;;) {
      out.items.push_back(element(Place::kInside, depth + 1));
      if (next_item(']', begin)) return out;
    }
  }

  Element map(int depth) {
    Element out;
    out.kind = Element::Kind::kMap;
    out.mark = mark_at(pos_);
    const size_t begin = pos_++;
    skip_blanks();
    if (!done() && text_[pos_] == '}') {
      ++pos_;
      return out;
    }
    for (;;) {
      skip_blanks();
      const size_t key_at = pos_;
      std::string key = map_key(begin);
      if (std::find(out.names.begin(), out.names.end(), key) != out.names.end()) {
        fail(key_at, "O101", fmt::format("key '{}' stands twice in one map", key), "keep one of the two",
             static_cast<int>(std::max<size_t>(key.size(), 1)));
      }
      skip_blanks();
      if (done() || text_[pos_] != ':') {
        fail(std::min(pos_, text_.size()), "O101", fmt::format("key '{}' of a map needs ':' and a value", key),
             "write {key: value}");
      }
      ++pos_;
      out.names.push_back(std::move(key));
      out.items.push_back(element(Place::kInside, depth + 1));
      if (next_item('}', begin)) return out;
    }
  }

  std::string map_key(size_t begin) {
    if (done()) unclosed(begin);
    if (text_[pos_] == '\'' || text_[pos_] == '"') return quoted().value.as_string();
    const Element key = bare_or_call(Place::kMapKey, 0);
    switch (key.value.kind()) {
      case Node::Kind::kInt:
        return std::to_string(key.value.as_int());
      case Node::Kind::kBool:
        return key.value.as_bool() ? "true" : "false";
      case Node::Kind::kFloat:
        return float_text(key.value.as_number());
      case Node::Kind::kString:
        return key.value.as_string();
      default:
        fail(pos_, "O101", "null is used as a key", "quote it if it is meant as text: 'null'");
    }
  }

  /// After an element: ',' goes on, `close` ends. Returns true at the end.
  bool next_item(char close, size_t begin) {
    skip_blanks();
    if (done()) unclosed(begin);
    if (text_[pos_] == close) {
      ++pos_;
      return true;
    }
    if (text_[pos_] != ',') unexpected();
    ++pos_;
    return false;
  }

  [[noreturn]] void unclosed(size_t begin) {
    fail(begin, "O101", fmt::format("'{}' is never closed", text_.substr(begin, 1)),
         fmt::format("add the closing bracket, or write \\{} for the character itself", text_.substr(begin, 1)));
  }

  Element bare_or_call(Place place, int depth) {
    Element out;
    out.mark = mark_at(pos_);
    const size_t begin = pos_;
    std::string content;
    size_t kept = 0;    // length of `content` up to its last character that is not a trailing blank
    bool typed = true;  // escapes and references make text
    while (!done()) {
      const char c = text_[pos_];
      if (c == '\\' && pos_ + 1 < text_.size() && kOverrideEscapable.find(text_[pos_ + 1]) != std::string_view::npos) {
        // "\\${" keeps its backslashes: interpolation gives them their meaning.
        content.push_back(text_[pos_ + 1]);
        pos_ += 2;
        kept = content.size();
        typed = false;
        continue;
      }
      if (c == '$' && pos_ + 1 < text_.size() && text_[pos_ + 1] == '{') {
        const size_t end = reference_end(pos_);
        content.append(text_.substr(pos_, end - pos_));
        pos_ = end;
        kept = content.size();
        typed = false;
        continue;
      }
      if (c == '(') {
        std::string name = content.substr(0, kept);
        if (place != Place::kMapKey && typed && is_identifier(name)) return call(std::move(name), begin, depth);
        fail(pos_, "O101", fmt::format("'(' follows '{}', which is no function name", name),
             "write \\( for the character itself, or quote the value");
      }
      if (c == ',' || c == ']' || c == '}' || c == ')' || c == '[' || c == '{') break;
      if (place == Place::kMapKey && c == ':') break;
      content.push_back(c);
      ++pos_;
      if (!is_override_blank(c) && c != '\n' && c != '\r') kept = content.size();
    }
    content.resize(kept);
    if (kept == 0) {
      if (done()) fail(text_.size(), "O101", "a value is missing at the end");
      const char c = text_[pos_];
      fail(pos_, "O101", fmt::format("a value is missing in front of '{}'", c),
           c == ',' ? "write '' for an empty string" : fmt::format("write \\{} for the character itself", c));
    }
    if (!done() && (text_[pos_] == '[' || text_[pos_] == '{' || (place == Place::kTop && text_[pos_] != ',')))
      unexpected();
    if (!typed) {
      out.value = Node::string(std::move(content), out.mark);
      return out;
    }
    ScalarReading reading = read_override_scalar(content, out.mark);
    if (!reading.value) fail(begin, "O104", reading.message, reading.help, static_cast<int>(content.size()));
    out.value = std::move(*reading.value);
    return out;
  }

  /// Offset behind the '}' that closes the "${" at `begin`; quotes inside hide brackets.
  size_t reference_end(size_t begin) {
    int open = 0;
    char quote = 0;
    for (size_t i = begin; i < text_.size(); ++i) {
      const char c = text_[i];
      if (quote != 0) {
        if (c == '\\') {
          ++i;
        } else if (c == quote) {
          quote = 0;
        }
      } else if (c == '\\') {
        ++i;
      } else if (open > 0 && (c == '\'' || c == '"')) {
        quote = c;
      } else if (c == '{') {
        if (++open > kMaxDepth) fail(i, "O101", fmt::format("nested deeper than {} levels", kMaxDepth));
      } else if (c == '}' && --open == 0) {
        return i + 1;
      }
    }
    fail(begin, "O101", "'${' is never closed", "add '}', or write $\\{ for the characters themselves", 2);
  }

  Element call(std::string name, size_t begin, int depth) {
    Element out;
    out.kind = Element::Kind::kCall;
    out.name = std::move(name);
    out.mark = mark_at(begin);
    const size_t open = pos_++;
    skip_blanks();
    if (!done() && text_[pos_] == ')') {
      ++pos_;
      return out;
    }
    for (;;) {
      skip_blanks();
      out.names.push_back(argument_name());
      out.items.push_back(element(Place::kInside, depth + 1));
      if (next_item(')', open)) return out;
    }
  }

  /// "name=" in front of an argument, or "".
  std::string argument_name() {
    size_t i = pos_;
    while (i < text_.size() && is_identifier_char(text_[i])) ++i;
    const std::string_view name = text_.substr(pos_, i - pos_);
    while (i < text_.size() && is_override_blank(text_[i])) ++i;
    if (!is_identifier(name) || i >= text_.size() || text_[i] != '=') return {};
    pos_ = i + 1;
    return std::string(name);
  }

  std::string_view text_;
  const Mark& base_;
  std::vector<Problem>& problems_;
  size_t pos_ = 0;
};

}  // namespace

std::optional<Override> parse_override(std::string_view text, const Mark& base, std::vector<Problem>& problems) {
  try {
    return Parser(text, base, problems).override();
  } catch (const SyntaxFault&) {
    return std::nullopt;
  }
}

std::optional<std::vector<Element>> parse_value(std::string_view text, const Mark& base,
                                                std::vector<Problem>& problems) {
  try {
    return Parser(text, base, problems).value_only();
  } catch (const SyntaxFault&) {
    return std::nullopt;
  }
}

}  // namespace aqlm_exp::config
