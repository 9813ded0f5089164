// JSON from outside, parsed strictly through nlohmann's SAX interface: duplicate keys, deep nesting, trailing bytes, a
// byte order mark, NUL bytes and integers beyond 64 bits are errors, each with line and column. (nlohmann's own DOM
// parser keeps the last duplicate, turns big integers into doubles and takes any depth: design/experiments.md 5.3.)
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace aqlm_exp {

struct JsonLimits {
  uint64_t max_bytes = 16ULL << 20;
  int max_depth = 64;                ///< nested arrays and objects
  uint64_t max_values = UINT64_MAX;  ///< values of all kinds
  /// Integers beyond 64 bits become doubles in place of an error (tokenizer_config.json holds 1e30 written out).
  bool big_integers_as_double = false;
};

/// Error codes given to each kind of fault.
struct JsonCodes {
  std::string syntax = "J-SYNTAX";  ///< also numbers out of range
  std::string utf8 = "J-UTF8";
  std::string duplicate = "J-DUP";
  std::string depth = "J-DEPTH";
  std::string limit = "J-LIMIT";  ///< size or number of values
};

/// Parses one JSON document. Integers and floats stay apart (is_number_integer / is_number_float).
/// @param where  names the document in messages: a path
/// @throws DataError "where:line:col: ..." with one of `codes`
nlohmann::json parse_strict_json(std::string_view text, std::string_view where, const JsonLimits& limits = {},
                                 const JsonCodes& codes = {});

/// Reads and parses a regular file. Faults of the file itself carry `file_area`-NOTFILE and so on
/// (framework/base/file.h).
nlohmann::json read_strict_json(const std::filesystem::path& path, std::string_view file_area,
                                const JsonLimits& limits = {}, const JsonCodes& codes = {});

}  // namespace aqlm_exp
