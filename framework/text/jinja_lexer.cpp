#include "framework/text/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::text::jinja {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

class Lexer {
 public:
  Lexer(std::string_view source, std::string_view where) : where_(where) {
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r') {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      } else {
        source_ += source[i];
      }
    }
    if (!source_.empty() && source_.back() == '\n') source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t tag = find_tag(at_);
      read_text(tag);
      if (tag == std::string::npos) break;
      read_tag(tag);
    }
    push(Token::Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw DataError(fmt::format("{}:{}: {}", where_, line_, message), "K-CHAT-SYNTAX");
  }
  void push(Token::Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  size_t find_tag(size_t from) const {
    for (size_t i = from; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return std::string::npos;
  }

  /// The text up to a tag, with what the tags on both sides strip.
  void read_text(size_t tag) {
    const size_t end = tag == std::string::npos ? source_.size() : tag;
    std::string text = source_.substr(at_, end - at_);
    const size_t newlines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    if (strip_next_ == '-') {
      text.erase(0, static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_blank) - text.begin()));
    } else if (strip_next_ == 'n' && !text.empty() && text[0] == '\n') {  // trim_blocks
      text.erase(0, 1);
    }
    if (tag != std::string::npos) {
      const char control = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      if (control == '-') {
        while (!text.empty() && is_blank(text.back())) text.pop_back();
      } else if (source_[tag + 1] != '{' && control != '+') {  // lstrip_blocks
        size_t start = end;
        while (start > at_ && (source_[start - 1] == ' ' || source_[start - 1] == '\t')) --start;
        const bool line_start = start == 0 || source_[start - 1] == '\n' ||
                                (start == at_ && strip_next_ == 'n' && start > 0 && source_[start - 1] == '\n');
        if (line_start) text.resize(text.size() - std::min(text.size(), end - start));
      }
    }
    if (!text.empty()) push(Token::Kind::kText, std::move(text));
    line_ += newlines;
    at_ = end;
  }

  void read_tag(size_t tag) {
    const char type = source_[tag + 1];
    at_ = tag + 2;
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
    if (type == '#') {
      const size_t end = source_.find("#}", at_);
      if (end == std::string::npos) fail("comment without #}");
      line_ += static_cast<size_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                              source_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
      strip_next_ = source_[end - 1] == '-' ? '-' : source_[end - 1] == '+' ? ' ' : 'n';
      at_ = end + 2;
      return;
    }
    const bool print = type == '{';
    const std::string close = print ? "}}" : "%}";
    if (!print && read_raw()) return;
    push(print ? Token::Kind::kPrintBegin : Token::Kind::kTagBegin, "");
    int depth = 0;  // of brackets: "}}" inside a mapping closes the mapping first
    for (;;) {
      while (at_ < source_.size() && is_blank(source_[at_])) {
        line_ += source_[at_] == '\n';
        ++at_;
      }
      if (at_ >= source_.size()) fail(fmt::format("tag without {}", close));
      const bool minus = source_[at_] == '-' || source_[at_] == '+';
      if (depth == 0 && source_.compare(at_ + (minus ? 1 : 0), 2, close) == 0) {
        strip_next_ = minus && source_[at_] == '-' ? '-' : print || minus ? ' ' : 'n';
        at_ += minus ? 3 : 2;
        push(print ? Token::Kind::kPrintEnd : Token::Kind::kTagEnd, "");
        return;
      }
      read_token(depth);
    }
  }

  /// {% raw %} ... {% endraw %}; true if it was one.
  bool read_raw() {
    size_t i = at_;
    const auto skip = [&] {
      while (i < source_.size() && is_blank(source_[i])) ++i;
    };
    skip();
    if (source_.compare(i, 3, "raw") != 0) return false;
    i += 3;
    skip();
    const bool strip_first = i < source_.size() && source_[i] == '-';
    if (strip_first) ++i;
    if (source_.compare(i, 2, "%}") != 0) return false;
    i += 2;
    for (size_t end = source_.find("{%", i); end != std::string::npos; end = source_.find("{%", end + 2)) {
      size_t k = end + 2;
      const bool strip_last = k < source_.size() && source_[k] == '-';
      if (strip_last || (k < source_.size() && source_[k] == '+')) ++k;
      while (k < source_.size() && is_blank(source_[k])) ++k;
      if (source_.compare(k, 6, "endraw") != 0) continue;
      k += 6;
      while (k < source_.size() && is_blank(source_[k])) ++k;
      const bool strip_next = k < source_.size() && source_[k] == '-';
      if (strip_next) ++k;
      if (source_.compare(k, 2, "%}") != 0) continue;
      std::string text = source_.substr(i, end - i);
      if (strip_first)
        text.erase(0, static_cast<size_t>(std::find_if_not(text.begin(), text.end(), is_blank) - text.begin()));
      if (!strip_first && !text.empty() && text[0] == '\n') text.erase(0, 1);
      while (strip_last && !text.empty() && is_blank(text.back())) text.pop_back();
      if (!text.empty()) push(Token::Kind::kText, std::move(text));
      line_ += static_cast<size_t>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                              source_.begin() + static_cast<std::ptrdiff_t>(k), '\n'));
      strip_next_ = strip_next ? '-' : 'n';
      at_ = k + 2;
      return true;
    }
    fail("{% raw %} without {% endraw %}");
  }

  void read_token(int& depth) {
    const char c = source_[at_];
    if (is_letter(c)) {
      const size_t start = at_;
      while (at_ < source_.size() && (is_letter(source_[at_]) || is_digit(source_[at_]))) ++at_;
      push(Token::Kind::kName, source_.substr(start, at_ - start));
    } else if (is_digit(c)) {
      read_number();
    } else if (c == '"' || c == '\'') {
      read_string(c);
    } else {
      static constexpr std::array<std::string_view, 7> kTwo = {"==", "!=", "<=", ">=", "//", "**", ""};
      for (std::string_view two : kTwo) {
        if (!two.empty() && source_.compare(at_, 2, two) == 0) {
          push(Token::Kind::kOperator, std::string(two));
          at_ += 2;
          return;
        }
      }
      if (std::string_view("+-*/%~<>=()[]{}.,:|").find(c) == std::string_view::npos) {
        fail(fmt::format("unexpected character code {}", static_cast<unsigned>(static_cast<unsigned char>(c))));
      }
      if (c == '(' || c == '[' || c == '{') ++depth;
      if ((c == ')' || c == ']' || c == '}') && --depth < 0) fail(fmt::format("\"{}\" without its opening bracket", c));
      push(Token::Kind::kOperator, std::string(1, c));
      ++at_;
    }
  }

  void read_number() {
    const size_t start = at_;
    while (at_ < source_.size() && (is_digit(source_[at_]) || source_[at_] == '_')) ++at_;
    bool is_float = false;
    if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
      is_float = true;
      ++at_;
      while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
    }
    if (at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      size_t exponent = at_ + 1;
      if (exponent < source_.size() && (source_[exponent] == '-' || source_[exponent] == '+')) ++exponent;
      if (exponent < source_.size() && is_digit(source_[exponent])) {
        is_float = true;
        at_ = exponent;
        while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
      }
    }
    std::string text = source_.substr(start, at_ - start);
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    push(is_float ? Token::Kind::kFloat : Token::Kind::kInt, std::move(text));
  }

  void read_string(char quote) {
    std::string value;
    ++at_;
    for (;; ++at_) {
      if (at_ >= source_.size()) fail("string without its closing quote");
      const char c = source_[at_];
      if (c == quote) break;
      line_ += c == '\n';
      if (c != '\\') {
        value += c;
        continue;
      }
      if (++at_ >= source_.size()) fail("string without its closing quote");
      read_escape(value);
    }
    ++at_;
    push(Token::Kind::kString, std::move(value));
  }

  void read_escape(std::string& value) {
    const char c = source_[at_];
    static constexpr std::string_view kNames = "nrtbfva0\\'\"";
    static constexpr std::string_view kValues("\n\r\t\b\f\v\a\0\\'\"", 11);
    if (const size_t place = kNames.find(c); place != std::string_view::npos) {
      value += kValues[place];
      return;
    }
    if (c == '\n') return;  // a line continued
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits == 0) {  // unknown escapes keep their backslash, as in Python
      value += '\\';
      value += c;
      return;
    }
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i) {
      const char d = at_ + 1 < source_.size() ? source_[++at_] : ' ';
      const int digit = is_digit(d)            ? d - '0'
                        : d >= 'a' && d <= 'f' ? d - 'a' + 10
                        : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                               : -1;
      if (digit < 0) fail("escape without its hexadecimal digits");
      code = code << 4 | static_cast<uint32_t>(digit);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("escape that names no code point");
    utf8_append(value, static_cast<char32_t>(code));
  }

  std::string source_;
  std::string_view where_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  size_t line_ = 1;
  char strip_next_ = ' ';  // of the text behind the last tag: '-' all white space, 'n' one newline, ' ' nothing
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source, std::string_view where) {
  return Lexer(source, where).run();
}

}  // namespace aqlm_exp::text::jinja
