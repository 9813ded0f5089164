// Chat templates of model folders: messages to the text a model was trained on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace aqlm_exp::text {

/// A template in the subset of Jinja2 that published chat templates use, set up as Hugging Face's library does.
/// Immutable once parsed; may be rendered from several threads.
class ChatTemplate {
 public:
  /// @throws DataError: K-CHAT-SYNTAX, K-CHAT-UNKNOWN, K-CHAT-LIMIT, with line
  static ChatTemplate parse(std::string_view source, std::string_view where);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  /// @param variables  an object: `messages` and whatever else the template names (`add_generation_prompt`, `tools`,
  ///                   `bos_token`, `eos_token`, ...)
  /// @param now        seconds since 1970, UTC, that strftime_now() shows; absent: the present time
  /// @throws DataError: K-CHAT-RAISED (the template's own raise_exception), K-CHAT-VALUE (a value that an operation
  /// cannot
  ///         take), K-CHAT-UNKNOWN (a filter, test or method outside the subset), K-CHAT-LIMIT (10 million steps, 64
  ///         MiB)
  std::string render(const nlohmann::ordered_json& variables, std::optional<int64_t> now = std::nullopt) const;

 private:
  struct State;
  explicit ChatTemplate(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

/// What tokenizer_config.json (and chat_template.jinja beside it) say about talking to a model.
struct TokenizerConfig {
  std::string bos_token;  ///< as written; empty if there is none
  std::string eos_token;
  bool add_bos_token = false;
  std::optional<std::string> chat_template;  ///< the one named "default" if there are several
};

/// Reads a model folder's tokenizer_config.json; all fields keep their defaults if there is no such file.
/// @throws DataError: K-SYNTAX, K-TYPE and so on
TokenizerConfig load_tokenizer_config(const std::filesystem::path& folder);

}  // namespace aqlm_exp::text
