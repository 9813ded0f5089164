#include "framework/text/stream_decoder.h"

#include "framework/base/utf8.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::text {
namespace {

/// A cluster has no largest size; text that never ends one is shown all the same.
constexpr size_t kMaxHeldBytes = 256;

/// Length of a trailing sequence that further bytes may complete to a code point: 0 to 3.
size_t unfinished_suffix(std::string_view bytes) {
  for (size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    const auto first = static_cast<unsigned char>(tail[0]);
    if (first < 0x80) return 0;
    if (first < 0xC0) continue;  // a continuation byte: its first byte is further ahead
    const size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (length >= wanted) return 0;
    // Completed by the one continuation byte that is allowed in every place, A0, or for F4 by 80.
    for (const char filler : {'\xA0', '\x80'}) {
      std::string whole(tail);
      whole.resize(wanted, filler);
      if (utf8_valid_prefix(whole) == whole.size()) return length;
    }
    return 0;
  }
  return 0;
}

}  // namespace

std::string StreamDecoder::add(int32_t id) {
  if (options_.skip_special_tokens && tokenizer_->is_special(id)) return {};
  bytes_ += tokenizer_->token_bytes(id);
  return release(false);
}

std::string StreamDecoder::finish() { return release(true); }

std::string StreamDecoder::release(bool all) {
  const size_t ready = bytes_.size() - (all ? 0 : unfinished_suffix(bytes_));
  text_ += utf8_replace_invalid(std::string_view(bytes_).substr(0, ready));
  bytes_.erase(0, ready);
  const size_t whole = all || text_.size() > kMaxHeldBytes ? text_.size() : whole_characters(text_);
  std::string out = text_.substr(0, whole);
  text_.erase(0, whole);
  return out;
}

}  // namespace aqlm_exp::text
