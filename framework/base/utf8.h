// UTF-8: validation, code points one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace aqlm_exp {

/// Length of the longest valid UTF-8 prefix (no overlong forms, surrogates or values above U+10FFFF); text.size() if
/// valid.
size_t utf8_valid_prefix(std::string_view text);

/// One code point and how many bytes it took.
struct CodePoint {
  char32_t value;
  uint32_t size_bytes;
};

/// Decodes the code point at `offset` of valid UTF-8 (offset < text.size()).
inline CodePoint utf8_decode(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[offset + i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return {static_cast<char32_t>(first), 1};
  if (first < 0xE0) return {static_cast<char32_t>((first & 0x1F) << 6 | (byte(1) & 0x3F)), 2};
  if (first < 0xF0) {
    return {static_cast<char32_t>((first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F)), 3};
  }
  return {
      static_cast<char32_t>((first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F)),
      4};
}

/// Appends the UTF-8 form of a code point (not a surrogate, at most U+10FFFF).
void utf8_append(std::string& out, char32_t value);

/// The text with each maximal ill-formed sequence replaced by U+FFFD, as the Unicode standard recommends (and as Rust
/// and Python's "replace" do).
std::string utf8_replace_invalid(std::string_view bytes);

}  // namespace aqlm_exp
