// Decoders of tokenizer.json: from tokens back to text.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/json_fields.h"

namespace aqlm_exp::text {

class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Rewrites the tokens; the text is all of them joined. A result may hold bytes that are no UTF-8 only with `raw`.
  /// @param raw  leave bytes as they are in place of U+FFFD for those that form no UTF-8, and the first token as if it
  /// were
  ///             in the middle: what a single token stands for inside a longer text
  virtual void apply(std::vector<std::string>& tokens, bool raw) const = 0;
};

/// Builds a decoder, or a sequence of at most 16, from its JSON. Known types: ByteLevel, ByteFallback, Fuse, Metaspace,
/// Replace, Strip, Sequence. @throws DataError: K-UNKNOWN, K-NESTED, K-TYPE, K-MISSING, K-RANGE, K-REGEX
std::unique_ptr<Decoder> make_decoder(const JsonFields& in);

}  // namespace aqlm_exp::text
