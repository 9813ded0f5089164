#include "framework/config/scalar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace aqlm_exp::config {
namespace {

using Fault = ScalarReading::Fault;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

ScalarReading good(Node value) { return {std::move(value), Fault::kNone, {}, {}}; }

/// Length of the run of digits at `begin`; with `underscores`, single ones between digits count.
size_t digits_at(std::string_view text, size_t begin, bool underscores) {
  size_t i = begin;
  while (i < text.size()) {
    if (is_digit(text[i])) {
      ++i;
    } else if (underscores && text[i] == '_' && i > begin && i + 1 < text.size() && is_digit(text[i + 1])) {
      ++i;
    } else {
      break;
    }
  }
  return i - begin;
}

enum class NumberShape { kNone, kInt, kFloat };

/// Shape of a decimal number that spans the whole text. The whole part of an override number is "0" or starts with 1-9.
NumberShape number_shape(std::string_view text, bool is_override) {
  size_t i = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  const size_t whole_at = i;
  const size_t whole = digits_at(text, i, is_override);
  if (is_override && whole > 1 && text[whole_at] == '0') return NumberShape::kNone;
  i += whole;
  if (i == text.size()) return whole > 0 ? NumberShape::kInt : NumberShape::kNone;
  if (text[i] == '.') {
    const size_t fraction = digits_at(text, i + 1, is_override);
    if (whole == 0 && fraction == 0) return NumberShape::kNone;
    i += 1 + fraction;
  } else if (whole == 0) {
    return NumberShape::kNone;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    const size_t exponent = digits_at(text, i, is_override);
    if (exponent == 0) return NumberShape::kNone;
    i += exponent;
  }
  return i == text.size() ? NumberShape::kFloat : NumberShape::kNone;
}

ScalarReading overflow(std::string_view text, const char* range) {
  return {std::nullopt, Fault::kOverflow, fmt::format("number '{}' does not fit, need {}", text, range),
          fmt::format("to keep it as text write \"{}\"", text)};
}

ScalarReading read_integer(std::string_view shown, std::string_view digits, int base, bool negative, const Mark& mark) {
  uint64_t magnitude = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), magnitude, base);
  const uint64_t limit = negative ? uint64_t{1} << 63 : (uint64_t{1} << 63) - 1;
  if (result.ec != std::errc() || magnitude > limit) return overflow(shown, "a 64-bit integer");
  return good(Node::integer(static_cast<int64_t>(negative ? 0 - magnitude : magnitude), mark));
}

ScalarReading read_decimal(std::string_view text, NumberShape shape, const Mark& mark) {
  std::string clean(text);
  clean.erase(std::remove(clean.begin(), clean.end(), '_'), clean.end());
  const bool sign = clean[0] == '+' || clean[0] == '-';
  if (shape == NumberShape::kInt) {
    return read_integer(text, std::string_view(clean).substr(sign ? 1 : 0), 10, clean[0] == '-', mark);
  }
  // strtod, not from_chars: from_chars reports 1e-400 and 1e400 alike. The locale is "C" in both binaries.
  const double value = std::strtod(clean.c_str() + (clean[0] == '+' ? 1 : 0), nullptr);
  if (std::isinf(value)) return overflow(text, "a finite double; write .inf for infinity");
  return good(Node::number(value, mark));
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: what YAML 1.1 reads in base 60.
bool is_sexagesimal(std::string_view text) {
  size_t i = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  const size_t start = i;
  while (i < text.size() && (is_digit(text[i]) || (text[i] == '_' && i > start))) ++i;
  if (i == start) return false;
  size_t groups = 0;
  while (i < text.size() && text[i] == ':') {
    ++i;
    const size_t count = digits_at(text, i, false);
    if (count == 0 || count > 2 || (count == 2 && text[i] > '5')) return false;
    i += count;
    ++groups;
  }
  if (groups == 0) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    while (i < text.size() && (is_digit(text[i]) || text[i] == '_')) ++i;
  }
  return i == text.size();
}

/// A number whose whole part has a needless leading zero: 017, -08, 007.5.
bool has_leading_zero(std::string_view text) {
  const size_t i = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  return text.size() > i + 1 && text[i] == '0' && is_digit(text[i + 1]) &&
         number_shape(text, false) != NumberShape::kNone;
}

}  // namespace

ScalarReading read_yaml_scalar(std::string_view text, const Mark& mark) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return good(Node::null(mark));
  if (text == "true" || text == "True") return good(Node::boolean(true, mark));
  if (text == "false" || text == "False") return good(Node::boolean(false, mark));
  if (text.size() <= 3) {
    const std::string word = lower(text);
    if (word == "yes" || word == "no" || word == "on" || word == "off") {
      return {std::nullopt, Fault::kAmbiguous,
              fmt::format("'{}' is ambiguous: YAML 1.1 reads a switch, YAML 1.2 a word", text),
              fmt::format("write {} for the switch or \"{}\" for the word",
                          word == "yes" || word == "on" ? "true" : "false", text)};
    }
  }
  const char first = text[0];
  if (!is_digit(first) && first != '+' && first != '-' && first != '.')
    return good(Node::string(std::string(text), mark));
  if (is_sexagesimal(text)) {
    return {std::nullopt, Fault::kAmbiguous,
            fmt::format("'{}' is ambiguous: YAML 1.1 reads a number in base 60, YAML 1.2 text", text),
            fmt::format("write \"{}\" for the text or the number in decimal", text)};
  }
  if (has_leading_zero(text)) {
    size_t digits = text.find_first_not_of("+-0");
    if (digits == std::string_view::npos || !is_digit(text[digits])) --digits;
    digits = std::min(digits, text.size() - 1);
    return {std::nullopt, Fault::kAmbiguous,
            fmt::format("'{}' is ambiguous: YAML 1.1 reads an octal number, YAML 1.2 a decimal one", text),
            fmt::format("write \"{}\" for the text, {}{} for the decimal number or 0o... for an octal one", text,
                        first == '-' ? "-" : "", text.substr(digits))};
  }
  if (text.size() > 2 && first == '0' && (text[1] == 'x' || text[1] == 'o')) {
    const int base = text[1] == 'x' ? 16 : 8;
    const char* permitted = base == 16 ? "0123456789abcdefABCDEF" : "01234567";
    if (text.find_first_not_of(permitted, 2) == std::string_view::npos) {
      return read_integer(text, text.substr(2), base, false, mark);
    }
    return good(Node::string(std::string(text), mark));
  }
  const std::string_view unsigned_text = first == '+' || first == '-' ? text.substr(1) : text;
  if (unsigned_text == ".inf" || unsigned_text == ".Inf" || unsigned_text == ".INF") {
    return good(Node::number(first == '-' ? -HUGE_VAL : HUGE_VAL, mark));
  }
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return good(Node::number(std::nan(""), mark));
  const NumberShape shape = number_shape(text, /*is_override=*/false);
  if (shape == NumberShape::kNone) return good(Node::string(std::string(text), mark));
  return read_decimal(text, shape, mark);
}

ScalarReading read_override_scalar(std::string_view text, const Mark& mark) {
  if (text.size() <= 5) {
    const std::string word = lower(text);
    if (word == "null") return good(Node::null(mark));
    if (word == "true") return good(Node::boolean(true, mark));
    if (word == "false") return good(Node::boolean(false, mark));
    const bool negative = !word.empty() && word[0] == '-';
    const std::string_view magnitude =
        std::string_view(word).substr(negative || (!word.empty() && word[0] == '+') ? 1 : 0);
    if (magnitude == "inf") return good(Node::number(negative ? -HUGE_VAL : HUGE_VAL, mark));
    if (magnitude == "nan") return good(Node::number(std::nan(""), mark));
  }
  const NumberShape shape = number_shape(text, /*is_override=*/true);
  if (shape == NumberShape::kNone) return good(Node::string(std::string(text), mark));
  return read_decimal(text, shape, mark);
}

bool is_utf8(std::string_view text, size_t& offset) {
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = static_cast<unsigned char>(text[i]);
    size_t length = 1;
    char32_t point = byte;
    char32_t smallest = 0;
    if (byte >= 0xF0 && byte < 0xF8) {
      length = 4, point = byte & 0x07u, smallest = 0x10000;
    } else if (byte >= 0xE0 && byte < 0xF0) {
      length = 3, point = byte & 0x0Fu, smallest = 0x800;
    } else if (byte >= 0xC0 && byte < 0xE0) {
      length = 2, point = byte & 0x1Fu, smallest = 0x80;
    } else if (byte >= 0x80) {
      offset = i;
      return false;
    }
    for (size_t k = 1; k < length; ++k) {
      if (i + k >= text.size() || (static_cast<unsigned char>(text[i + k]) & 0xC0) != 0x80) {
        offset = i;
        return false;
      }
      point = (point << 6) | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    }
    if (point < smallest || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) {
      offset = i;
      return false;
    }
    i += length;
  }
  return true;
}

}  // namespace aqlm_exp::config
