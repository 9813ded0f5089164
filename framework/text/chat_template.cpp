#include "framework/text/chat_template.h"

#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/json_fields.h"
#include "framework/base/strict_json.h"
#include "framework/text/jinja_parser.h"
#include "framework/text/jinja_renderer.h"

namespace aqlm_exp::text {
namespace {

/// "<s>", or {"content": "<s>", ...} as older files write it.
std::string read_token(const JsonFields& in, std::string_view key) {
  if (!in.has(key)) return {};
  return in.require(key).is_object() ? in.object(key).text("content") : in.text(key);
}

}  // namespace

struct ChatTemplate::State {
  std::string where;
  std::unique_ptr<jinja::Node> root;
};

ChatTemplate::ChatTemplate(std::unique_ptr<const State> state) : state_(std::move(state)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

ChatTemplate ChatTemplate::parse(std::string_view source, std::string_view where) {
  auto state = std::make_unique<State>();
  state->where = where;
  state->root = jinja::parse_template(source, where);
  return ChatTemplate(std::move(state));
}

std::string ChatTemplate::render(const nlohmann::ordered_json& variables, std::optional<int64_t> now) const {
  if (!variables.is_object())
    throw DataError(fmt::format("{}: variables must be a JSON object", state_->where), "K-CHAT-VALUE");
  jinja::Value values = jinja::Value::from_json(variables);
  return jinja::render(*state_->root, state_->where, values.as_dict(),
                       now.value_or(static_cast<int64_t>(std::time(nullptr))));
}

TokenizerConfig load_tokenizer_config(const std::filesystem::path& folder) {
  TokenizerConfig config;
  const std::filesystem::path path = folder / "tokenizer_config.json";
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(path, error))) {
    JsonLimits limits;
    limits.big_integers_as_double = true;  // model_max_length is often 1e30, written out
    const JsonCodes codes{
        .syntax = "K-SYNTAX", .utf8 = "K-UTF8", .duplicate = "K-DUP", .depth = "K-DEPTH", .limit = "K-LIMIT"};
    const nlohmann::json json = read_strict_json(path, "K", limits, codes);
    const JsonFields in(json, path.string(), "", "K");
    config.bos_token = read_token(in, "bos_token");
    config.eos_token = read_token(in, "eos_token");
    config.add_bos_token = in.boolean_or("add_bos_token", false);
    if (in.has("chat_template") && in.require("chat_template").is_array()) {
      size_t index = 0;
      for (const auto& entry : in.array("chat_template", 64)) {
        const JsonFields named(entry, in.where(), fmt::format("chat_template.{}", index++), "K");
        if (named.text("name") == "default") config.chat_template = named.text("template");
      }
    } else if (in.has("chat_template")) {
      config.chat_template = in.text("chat_template");
    }
  }
  const std::filesystem::path separate = folder / "chat_template.jinja";  // where transformers 5 keeps it
  if (std::filesystem::exists(std::filesystem::symlink_status(separate, error))) {
    config.chat_template = read_regular_file(separate, jinja::kMaxTemplateBytes, "K");
  }
  return config;
}

}  // namespace aqlm_exp::text
