#include "framework/generate/conversation.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "framework/base/error.h"

namespace aqlm_exp::generate {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

}  // namespace

Conversation::Conversation(const std::filesystem::path& folder, const text::Tokenizer& tokenizer, bool raw)
    : tokenizer_(tokenizer), config_(text::load_tokenizer_config(folder)), model_name_(folder.filename().string()) {
  if (config_.chat_template && !raw) {
    template_ = text::ChatTemplate::parse(*config_.chat_template, (folder / "tokenizer_config.json").string());
  }
}

void Conversation::add_user(std::string text) { messages_.push_back({"user", std::move(text)}); }
void Conversation::add_assistant(std::string text) { messages_.push_back({"assistant", std::move(text)}); }

std::string Conversation::prompt_text() const {
  if (template_) {
    nlohmann::ordered_json messages = nlohmann::ordered_json::array();
    if (!system_.empty()) messages.push_back({{"role", "system"}, {"content", system_}});
    for (const Message& message : messages_) {
      messages.push_back({{"role", message.role}, {"content", message.content}});
    }
    return template_->render({{"messages", std::move(messages)},
                              {"add_generation_prompt", true},
                              {"bos_token", config_.bos_token},
                              {"eos_token", config_.eos_token}});
  }
  std::string text = system_;
  for (const Message& message : messages_) {
    // What the user types begins a new line, unless one side left a blank; what the model says continues.
    const bool apart = text.empty() || message.role != "user" || is_blank(text.back()) || message.content.empty() ||
                       is_blank(message.content.front());
    if (!apart) text += '\n';
    text += message.content;
  }
  return text;
}

std::vector<int32_t> Conversation::encode() const {
  // A template writes special tokens out itself; a bare text gets those that the tokenizer puts around one.
  return tokenizer_.encode(prompt_text(), {.add_special_tokens = !template_});
}

std::vector<int32_t> Conversation::prompt(int64_t max_tokens, int64_t* dropped) {
  int64_t gone = 0;
  std::vector<int32_t> ids = encode();
  while (static_cast<int64_t>(ids.size()) > max_tokens && messages_.size() > 1) {
    // An exchange is a question and its answer; what is left begins with a question again.
    do {
      messages_.erase(messages_.begin());
      ++gone;
    } while (messages_.size() > 1 && messages_.front().role != "user");
    ids = encode();
  }
  if (dropped != nullptr) *dropped = gone;
  if (static_cast<int64_t>(ids.size()) > max_tokens) {
    if (template_) {
      throw DataError(
          fmt::format("[chat] the message takes {} tokens, {} are left for it; shorten it or raise --context",
                      ids.size(), max_tokens));
    }
    ids.erase(ids.begin(), ids.end() - max_tokens);
  }
  if (ids.empty()) throw DataError("[chat] the text has no tokens; type something");
  return ids;
}

nlohmann::ordered_json Conversation::to_json() const {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  for (const Message& message : messages_) messages.push_back({{"role", message.role}, {"content", message.content}});
  return {{"model", model_name_}, {"system", system_}, {"messages", std::move(messages)}};
}

}  // namespace aqlm_exp::generate
