// A conversation as the text that a model is shown: through the tokenizer's chat template, or, for a model that has
// none, as one text that both sides continue.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "framework/text/chat_template.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::generate {

struct Message {
  std::string role;  ///< "system", "user", "assistant"
  std::string content;
};

class Conversation {
 public:
  /// @param folder    the model's, for tokenizer_config.json and chat_template.jinja
  /// @param tokenizer must outlive this
  /// @param raw       no template even if there is one
  /// @throws DataError for a template that cannot be used
  Conversation(const std::filesystem::path& folder, const text::Tokenizer& tokenizer, bool raw = false);

  bool has_template() const { return template_.has_value(); }
  /// Put before everything else, and kept by reset(). With a template: a message of role "system".
  void set_system(std::string text) { system_ = std::move(text); }
  void reset() { messages_.clear(); }
  void add_user(std::string text);
  void add_assistant(std::string text);
  /// Takes back the last message, for an answer that could not be made.
  void pop() { messages_.pop_back(); }
  const std::vector<Message>& messages() const { return messages_; }

  /// What the model is to continue.
  std::string prompt_text() const;
  /// As tokens. If they are more than `max_tokens`, the oldest exchanges are dropped from the conversation (without a
  /// template: the oldest part of the text) until they fit. @param dropped how many messages went, if wanted
  /// @throws DataError if the last message alone is too long
  std::vector<int32_t> prompt(int64_t max_tokens, int64_t* dropped = nullptr);

  /// {"model": ..., "system": ..., "messages": [{"role", "content"}, ...]}
  nlohmann::ordered_json to_json() const;

 private:
  std::vector<int32_t> encode() const;

  const text::Tokenizer& tokenizer_;
  text::TokenizerConfig config_;
  std::optional<text::ChatTemplate> template_;
  std::string model_name_, system_;
  std::vector<Message> messages_;
};

}  // namespace aqlm_exp::generate
