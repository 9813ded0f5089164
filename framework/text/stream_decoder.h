// Tokens to text while they come, for a reader who watches.
#pragma once

#include <cstdint>
#include <string>

#include "framework/text/tokenizer.h"

namespace aqlm_exp::text {

/// Turns tokens into text piece by piece. Tokens often end within a character: bytes are kept back until the character
/// they belong to is known whole, a grapheme cluster (UAX #29), so that no terminal ever shows half a Chinese
/// character, a flag's first letter or a family's first member. All pieces together are the text that the tokens stand
/// for in the middle of a longer one; bytes that form no UTF-8 become U+FFFD, as in Tokenizer::decode.
class StreamDecoder {
 public:
  /// @param tokenizer must outlive this
  explicit StreamDecoder(const Tokenizer& tokenizer, const DecodeOptions& options = {})
      : tokenizer_(&tokenizer), options_(options) {}

  /// @return what can be shown now: whole characters, maybe none
  std::string add(int32_t id);
  /// The rest, once no further token comes; the decoder can then be used for another text.
  std::string finish();

 private:
  std::string release(bool all);

  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  std::string bytes_;  // the start of a code point
  std::string text_;   // the start of a character, valid UTF-8
};

}  // namespace aqlm_exp::text
