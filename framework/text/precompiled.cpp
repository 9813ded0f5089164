#include "framework/text/precompiled.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <array>

#include "framework/base/utf8.h"
#include "framework/text/pieces.h"

namespace aqlm_exp::text {
namespace {

constexpr size_t kMaxWholeGrapheme = 6;

// Units of a Darts double array: value bit, label, and offset to the children.
bool has_leaf(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & (0x80000000 | 0xFF); }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1U << 9)) >> 6); }

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

}  // namespace

bool decode_base64(std::string_view text, std::string& bytes) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int, 256> value{};
  value.fill(-1);
  for (size_t i = 0; i < kAlphabet.size(); ++i) value[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int>(i);
  if (text.size() % 4 != 0) return false;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  bytes.clear();
  bytes.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    const bool last = i + 4 == text.size();
    for (size_t k = 0; k < 4; ++k) {
      const bool padded = last && k >= 4 - padding;
      const int digit = padded ? 0 : value[static_cast<unsigned char>(text[i + k])];
      if (digit < 0) return false;
      group = group << 6 | static_cast<uint32_t>(digit);
    }
    const size_t count = last ? 3 - padding : 3;
    for (size_t k = 0; k < count; ++k) bytes += static_cast<char>(group >> (16 - 8 * k) & 0xFF);
  }
  return true;
}

PrecompiledCharsMap::PrecompiledCharsMap(const JsonFields& in) {
  constexpr std::string_view kKey = "precompiled_charsmap";
  std::string bytes;
  if (!decode_base64(in.text(kKey), bytes)) in.fail(kKey, "TABLE", "is not base64");
  if (bytes.size() < 4) in.fail(kKey, "TABLE", fmt::format("got {} bytes, need a table", bytes.size()));
  const size_t trie_bytes = read_u32(bytes, 0);
  if (trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
    in.fail(kKey, "TABLE", fmt::format("its trie is said to have {} bytes, {} follow", trie_bytes, bytes.size() - 4));
  }
  for (size_t at = 4; at < 4 + trie_bytes; at += 4) units_.push_back(read_u32(bytes, at));
  if (units_.empty()) in.fail(kKey, "TABLE", "its trie is empty");
  replacements_ = bytes.substr(4 + trie_bytes);
  if (utf8_valid_prefix(replacements_) != replacements_.size() ||
      (!replacements_.empty() && replacements_.back() != '\0')) {
    in.fail(kKey, "TABLE", "its replacements are not UTF-8 with a NUL behind each");
  }
}

bool PrecompiledCharsMap::find(std::string_view key, std::string_view& replacement) const {
  // Common-prefix search; the first (shortest) hit counts. Every index is checked, since a table may be made up.
  size_t node = 0;
  node ^= offset_of(units_[0]);
  for (char c : key) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) return false;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return false;
    const size_t at = value_of(units_[node]);
    if (at >= replacements_.size() || (at > 0 && (static_cast<unsigned char>(replacements_[at]) & 0xC0) == 0x80))
      return false;
    replacement = std::string_view(replacements_).substr(at);
    replacement = replacement.substr(0, replacement.find('\0'));
    return true;
  }
  return false;
}

std::string PrecompiledCharsMap::normalize(std::string_view text, size_t max_bytes) const {
  std::string out;
  std::string_view replacement;
  const auto flush = [&](std::string_view grapheme) {
    if (grapheme.size() < kMaxWholeGrapheme && find(grapheme, replacement)) {
      out += replacement;
      return;
    }
    for (size_t offset = 0; offset < grapheme.size();) {
      const size_t size = utf8_decode(grapheme, offset).size_bytes;
      const std::string_view code_point = grapheme.substr(offset, size);
      out += find(code_point, replacement) ? replacement : code_point;
      offset += size;
    }
    check_growth(out.size(), max_bytes);
  };
  utf8proc_int32_t state = 0;
  utf8proc_int32_t previous = -1;
  size_t start = 0;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint c = utf8_decode(text, offset);
    const auto value = static_cast<utf8proc_int32_t>(c.value);
    if (previous >= 0 && utf8proc_grapheme_break_stateful(previous, value, &state)) {
      flush(text.substr(start, offset - start));
      start = offset;
    }
    previous = value;
    offset += c.size_bytes;
  }
  if (start < text.size()) flush(text.substr(start));
  check_growth(out.size(), max_bytes);
  return out;
}

}  // namespace aqlm_exp::text
