#include "framework/generate/generation_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/base/file.h"
#include "framework/base/json_fields.h"
#include "framework/base/strict_json.h"
#include "framework/text/chat_template.h"

namespace aqlm_exp::generate {
namespace {

constexpr uint64_t kMaxFileBytes = 4 << 20;
constexpr size_t kMaxStops = 1000;

/// False if the file is not there or names no token.
bool add_from(const std::filesystem::path& path, std::vector<int32_t>& ids) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return false;
  const JsonLimits limits{.max_bytes = kMaxFileBytes, .max_depth = 32, .max_values = 200'000};
  const JsonCodes codes{
      .syntax = "G-SYNTAX", .utf8 = "G-UTF8", .duplicate = "G-DUP", .depth = "G-DEPTH", .limit = "G-LIMIT"};
  const nlohmann::json json =
      parse_strict_json(read_regular_file(path, kMaxFileBytes, "G"), path.string(), limits, codes);
  const JsonFields in(json, path.string(), "", "G");
  const nlohmann::json* value = in.find("eos_token_id");
  if (value == nullptr) return false;
  if (!value->is_array()) {
    ids.push_back(static_cast<int32_t>(in.integer("eos_token_id", 0, INT32_MAX)));
    return true;
  }
  for (const nlohmann::json& id : in.array("eos_token_id", kMaxStops)) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) {
      in.fail("eos_token_id", "TYPE", "got " + json_excerpt(id) + ", need token ids");
    }
    ids.push_back(static_cast<int32_t>(id.get<int64_t>()));
  }
  return true;
}

}  // namespace

std::vector<int32_t> stop_tokens(const std::filesystem::path& folder, const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids;
  if (!add_from(folder / "generation_config.json", ids)) add_from(folder / "config.json", ids);
  const text::TokenizerConfig config = text::load_tokenizer_config(folder);
  if (!config.eos_token.empty()) {
    if (const int32_t id = tokenizer.id_of(config.eos_token); id >= 0) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

}  // namespace aqlm_exp::generate
