// Typed, bounded access to the members of a JSON object from outside.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp {

/// Error codes of JsonFields: prefix "J" gives J-TYPE, J-RANGE, J-MISSING.
/// Every getter throws DataError "where: path.key: got ..., need ...". A JSON null counts as absent.
class JsonFields {
 public:
  /// @param path  dotted place of the object inside the document; empty for the root. @throws J-TYPE if not an object
  JsonFields(const nlohmann::json& object, std::string where, std::string path, std::string code_prefix);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  const nlohmann::json* find(std::string_view key) const;  ///< nullptr if absent or null
  const nlohmann::json& require(std::string_view key) const;

  int64_t integer(std::string_view key, int64_t min, int64_t max) const;
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  /// Any JSON number, finite.
  double number(std::string_view key, double min, double max) const;
  double number_or(std::string_view key, double fallback, double min, double max) const;
  bool boolean(std::string_view key) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  std::string text(std::string_view key) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  const nlohmann::json& array(std::string_view key, size_t max_size) const;
  JsonFields object(std::string_view key) const;
  std::optional<JsonFields> object_if(std::string_view key) const;

  const nlohmann::json& json() const { return *object_; }
  const std::string& where() const { return where_; }
  /// "path.key"
  std::string path_of(std::string_view key) const;
  /// @param kind  "TYPE", "RANGE", "MISSING", ...
  [[noreturn]] void fail(std::string_view key, std::string_view kind, const std::string& message) const;

 private:
  const nlohmann::json* object_;
  std::string where_;
  std::string path_;
  std::string code_prefix_;
};

/// A short form of a value for messages.
std::string json_excerpt(const nlohmann::json& value);

}  // namespace aqlm_exp
