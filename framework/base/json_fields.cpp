#include "framework/base/json_fields.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp {

std::string json_excerpt(const nlohmann::json& value) {
  if (value.is_object()) return fmt::format("an object of {}", value.size());
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  std::string text = value.dump();
  if (text.size() > 60) text = text.substr(0, utf8_valid_prefix(std::string_view(text).substr(0, 60))) + "...";
  return text;
}

JsonFields::JsonFields(const nlohmann::json& object, std::string where, std::string path, std::string code_prefix)
    : object_(&object), where_(std::move(where)), path_(std::move(path)), code_prefix_(std::move(code_prefix)) {
  if (!object.is_object()) {
    throw DataError(
        fmt::format("{}: {}: got {}, need an object", where_, path_.empty() ? "document" : path_, json_excerpt(object)),
        code_prefix_ + "-TYPE");
  }
}

const nlohmann::json* JsonFields::find(std::string_view key) const {
  const auto place = object_->find(key);
  return place == object_->end() || place->is_null() ? nullptr : &*place;
}

const nlohmann::json& JsonFields::require(std::string_view key) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) fail(key, "MISSING", "is absent, and has no default");
  return *value;
}

std::string JsonFields::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void JsonFields::fail(std::string_view key, std::string_view kind, const std::string& message) const {
  throw DataError(fmt::format("{}: {}: {}", where_, path_of(key), message), fmt::format("{}-{}", code_prefix_, kind));
}

int64_t JsonFields::integer(std::string_view key, int64_t min, int64_t max) const {
  const nlohmann::json& value = require(key);
  if (!value.is_number_integer()) fail(key, "TYPE", fmt::format("got {}, need an integer", json_excerpt(value)));
  const bool too_large = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  if (too_large || value.get<int64_t>() < min || value.get<int64_t>() > max) {
    fail(key, "RANGE", fmt::format("got {}, need {} to {}", json_excerpt(value), min, max));
  }
  return value.get<int64_t>();
}

int64_t JsonFields::integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double JsonFields::number(std::string_view key, double min, double max) const {
  const nlohmann::json& value = require(key);
  if (!value.is_number()) fail(key, "TYPE", fmt::format("got {}, need a number", json_excerpt(value)));
  const double result = value.get<double>();
  if (!std::isfinite(result) || result < min || result > max) {
    fail(key, "RANGE", fmt::format("got {}, need {:g} to {:g}", json_excerpt(value), min, max));
  }
  return result;
}

double JsonFields::number_or(std::string_view key, double fallback, double min, double max) const {
  return has(key) ? number(key, min, max) : fallback;
}

bool JsonFields::boolean(std::string_view key) const {
  const nlohmann::json& value = require(key);
  if (!value.is_boolean()) fail(key, "TYPE", fmt::format("got {}, need true or false", json_excerpt(value)));
  return value.get<bool>();
}

bool JsonFields::boolean_or(std::string_view key, bool fallback) const { return has(key) ? boolean(key) : fallback; }

std::string JsonFields::text(std::string_view key) const {
  const nlohmann::json& value = require(key);
  if (!value.is_string()) fail(key, "TYPE", fmt::format("got {}, need a string", json_excerpt(value)));
  return value.get<std::string>();
}

std::string JsonFields::text_or(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : std::string(fallback);
}

const nlohmann::json& JsonFields::array(std::string_view key, size_t max_size) const {
  const nlohmann::json& value = require(key);
  if (!value.is_array()) fail(key, "TYPE", fmt::format("got {}, need an array", json_excerpt(value)));
  if (value.size() > max_size) {
    fail(key, "RANGE", fmt::format("got {} elements, need at most {}", value.size(), max_size));
  }
  return value;
}

JsonFields JsonFields::object(std::string_view key) const {
  return JsonFields(require(key), where_, path_of(key), code_prefix_);
}

std::optional<JsonFields> JsonFields::object_if(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return object(key);
}

}  // namespace aqlm_exp
