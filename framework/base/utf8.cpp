#include "framework/base/utf8.h"

namespace aqlm_exp {
namespace {

struct Sequence {
  size_t size_bytes;  // bytes that belong together
  bool valid;
};

/// The well-formed or maximal ill-formed sequence at `offset`: Unicode 15, table 3-7.
Sequence next_sequence(std::string_view text, size_t offset) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const size_t left = text.size() - offset;
  const unsigned char first = at(0);
  if (first < 0x80) return {1, true};
  size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {1, false};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i >= left || at(i) < low || at(i) > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

}  // namespace

size_t utf8_valid_prefix(std::string_view text) {
  size_t offset = 0;
  while (offset < text.size()) {
    const Sequence sequence = next_sequence(text, offset);
    if (!sequence.valid) return offset;
    offset += sequence.size_bytes;
  }
  return text.size();
}

void utf8_append(std::string& out, char32_t value) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  const auto v = static_cast<uint32_t>(value);
  if (v < 0x80) {
    put(v);
  } else if (v < 0x800) {
    put(0xC0 | v >> 6);
    put(0x80 | (v & 0x3F));
  } else if (v < 0x10000) {
    put(0xE0 | v >> 12);
    put(0x80 | (v >> 6 & 0x3F));
    put(0x80 | (v & 0x3F));
  } else {
    put(0xF0 | v >> 18);
    put(0x80 | (v >> 12 & 0x3F));
    put(0x80 | (v >> 6 & 0x3F));
    put(0x80 | (v & 0x3F));
  }
}

std::string utf8_replace_invalid(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  size_t offset = 0;
  while (offset < bytes.size()) {
    const Sequence sequence = next_sequence(bytes, offset);
    if (sequence.valid) {
      out.append(bytes.substr(offset, sequence.size_bytes));
    } else {
      out.append("\xEF\xBF\xBD");
    }
    offset += sequence.size_bytes;
  }
  return out;
}

}  // namespace aqlm_exp
