// SentencePiece's compiled character map: a double-array trie from byte sequences to their replacements, in base64.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/json_fields.h"

namespace aqlm_exp::text {

class PrecompiledCharsMap {
 public:
  /// @param in  the object that holds `precompiled_charsmap`
  /// @throws DataError (K-TABLE) if the base64, the sizes or the replacements are not sound
  explicit PrecompiledCharsMap(const JsonFields& in);

  /// Replaces, as Hugging Face's library does: each grapheme cluster of fewer than 6 bytes as a whole if the map knows
  /// it, else each code point that the map knows.
  std::string normalize(std::string_view text, size_t max_bytes) const;

 private:
  /// The replacement of the shortest entry that `key` starts with; false if there is none.
  bool find(std::string_view key, std::string_view& replacement) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

/// Standard base64 with padding; false if it is not.
bool decode_base64(std::string_view text, std::string& bytes);

}  // namespace aqlm_exp::text
