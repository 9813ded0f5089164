// A tokenizer as a Hugging Face tokenizer.json states it: the ids and the text are those of Hugging Face's
// `tokenizers`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::text {

struct EncodeOptions {
  /// Puts the post-processor's special tokens (BOS, ...) around the text.
  bool add_special_tokens = false;
  /// Recognises special tokens written out in the text ("<|im_start|>"); off for text from strangers.
  bool parse_special = true;
};

struct DecodeOptions {
  bool skip_special_tokens = false;
};

/// Immutable once loaded; every member may be called from several threads.
class Tokenizer {
 public:
  /// @param folder_or_json  a model folder with tokenizer.json, or such a file
  /// @throws DataError with a code K-...: design/experiments.md 5.4. K-NOTFILE, K-MISSING for the file itself
  static Tokenizer load(const std::filesystem::path& folder_or_json);
  /// From the text of a tokenizer.json. @param where  names it in messages
  static Tokenizer parse(std::string_view json, std::string_view where);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// @throws DataError: K-TEXT (not UTF-8), K-REGEX-LIMIT, K-LIMIT, K-UNK (no token for a part of the text)
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// Valid UTF-8; bytes that form none become U+FFFD. Ids that name no token are left out, as Hugging Face's library
  /// does: models often have more embedding rows than their tokenizer has tokens.
  std::string decode(std::span<const int32_t> ids, const DecodeOptions& options = {}) const;

  /// Tokens of the model and added ones.
  int64_t vocab_size() const;
  /// The largest id of a token.
  int64_t max_id() const;
  bool has_id(int64_t id) const;
  /// The bytes that a token stands for in the middle of a text, for streaming: they need not be whole code points.
  /// Empty for an id without a token.
  std::string token_bytes(int32_t id) const;
  /// The token as written in the file. @throws DataError (K-ID) if there is none
  const std::string& token(int32_t id) const;
  /// -1 if there is no such token (as written in the file).
  int32_t id_of(std::string_view token) const;
  bool is_special(int32_t id) const;
  /// SHA-256 of the tokenizer.json.
  const std::string& sha256() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

}  // namespace aqlm_exp::text
