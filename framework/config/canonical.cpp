#include "framework/config/canonical.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <vector>

namespace aqlm_exp::config {
namespace {

void write_string(const std::string& text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (byte < 0x20) {
          out += "\\u00";
          out.push_back(kHex[byte >> 4]);
          out.push_back(kHex[byte & 15]);
        } else {
          out.push_back(c);
        }
    }
  }
  out.push_back('"');
}

void write(const Node& node, std::string& out) {
  switch (node.kind()) {
    case Node::Kind::kNull:
      out += "null";
      return;
    case Node::Kind::kBool:
      out += node.as_bool() ? "true" : "false";
      return;
    case Node::Kind::kInt:
      out += std::to_string(node.as_int());
      return;
    case Node::Kind::kFloat: {
      const double value = node.as_number();
      if (std::isfinite(value)) {
        out += canonical_number(value);
      } else {
        out += std::isnan(value) ? "\"!!float .nan\"" : value > 0 ? "\"!!float .inf\"" : "\"!!float -.inf\"";
      }
      return;
    }
    case Node::Kind::kString:
      write_string(node.as_string().rfind("!!", 0) == 0 ? "!" + node.as_string() : node.as_string(), out);
      return;
    case Node::Kind::kList: {
      out.push_back('[');
      bool first = true;
      for (const Node& item : node.items()) {
        if (!first) out.push_back(',');
        first = false;
        write(item, out);
      }
      out.push_back(']');
      return;
    }
    case Node::Kind::kMap: {
      std::vector<const MapEntry*> entries;
      for (const MapEntry& entry : node.map_value().entries()) entries.push_back(&entry);
      std::sort(entries.begin(), entries.end(), [](const MapEntry* a, const MapEntry* b) { return a->key < b->key; });
      out.push_back('{');
      bool first = true;
      for (const MapEntry* entry : entries) {
        if (!first) out.push_back(',');
        first = false;
        write_string(entry->key, out);
        out.push_back(':');
        write(entry->value, out);
      }
      out.push_back('}');
      return;
    }
  }
}

}  // namespace

std::string canonical_number(double value) {
  if (value == 0.0) return "0";
  // Shortest digits in scientific form: d.ddde[+-]xx
  char buffer[64];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, std::abs(value), std::chars_format::scientific);
  const std::string text(buffer, result.ptr);
  const size_t e = text.find('e');
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c != '.') digits.push_back(c);
  }
  int exponent = 0;
  const char* exponent_begin = text.c_str() + e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(exponent_begin, text.c_str() + text.size(), exponent);
  const int n = exponent + 1;  // the decimal point stands behind n digits
  const int k = static_cast<int>(digits.size());
  std::string out;
  if (k <= n && n <= 21) {
    out = digits + std::string(static_cast<size_t>(n - k), '0');
  } else if (0 < n && n <= 21) {
    out = digits.substr(0, static_cast<size_t>(n)) + "." + digits.substr(static_cast<size_t>(n));
  } else if (-6 < n && n <= 0) {
    out = "0." + std::string(static_cast<size_t>(-n), '0') + digits;
  } else {
    out = digits.substr(0, 1) + (k > 1 ? "." + digits.substr(1) : std::string()) + "e" + (n > 0 ? "+" : "-") +
          std::to_string(std::abs(n - 1));
  }
  return value < 0 ? "-" + out : out;
}

std::string canonical_json(const Node& node) {
  std::string out;
  write(node, out);
  return out;
}

}  // namespace aqlm_exp::config
