// Tokens found in the text before anything else cuts it: special tokens and others that a tokenizer.json adds to its
// model.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/json_fields.h"
#include "framework/text/pieces.h"
#include "framework/text/vocabulary.h"

namespace aqlm_exp::text {

struct AddedToken {
  std::string content;
  std::string shown;  ///< what an id is turned back into: the content, normalised if the token is
  int32_t id = kNoToken;
  bool special = false;      ///< left out of decoded text when asked for
  bool lstrip = false;       ///< takes white space before it along
  bool rstrip = false;       ///< takes white space behind it along
  bool single_word = false;  ///< only where no word character touches it
  bool normalized = false;   ///< looked for in the normalised text, itself normalised
};

/// Finds the leftmost-longest of many strings.
class TokenMatcher {
 public:
  struct Entry {
    std::string content;
    const AddedToken* token;
  };
  TokenMatcher() = default;
  explicit TokenMatcher(std::vector<Entry> entries);
  bool empty() const { return entries_.empty(); }

  /// Cuts `text` into added tokens (`token` set) and stretches between them (nullptr), none of them empty.
  /// @throws DataError (K-LIMIT) if the tokens are made such that the search would take more than 256 steps a byte
  void cut(std::string_view text, bool with_special,
           const std::function<void(std::string_view stretch, size_t begin, const AddedToken* token)>& found) const;

 private:
  /// The longest entry at `offset`; nullptr if there is none. Takes its steps off `steps_left`.
  const Entry* longest_at(std::string_view text, size_t offset, size_t& steps_left) const;

  std::vector<Entry> entries_;              // sorted by content
  std::array<uint32_t, 257> first_byte_{};  // entries that start with byte b: [first_byte_[b], first_byte_[b + 1])
};

/// `added_tokens` of a tokenizer.json. Ids of tokens that the model knows too are the model's.
/// @throws DataError: K-ADDED (empty or twice), K-ID, K-LIMIT, K-TYPE, K-MISSING
std::vector<AddedToken> read_added_tokens(const JsonFields& in, const Vocabulary& model_vocabulary);

}  // namespace aqlm_exp::text
