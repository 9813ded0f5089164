// What keys a part of the configuration has. Recorded by the plugins' own readers (reader.h), so that validation, help,
// documentation and identity have one source. Travels as JSON from the worker to the driver.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"

namespace aqlm_exp::config {

struct Object;
struct Variant;

enum class FieldType { kInt, kFloat, kBool, kString, kPath, kSection, kList };

struct Field {
  std::string key;
  FieldType type = FieldType::kString;
  std::string doc;                   ///< one line
  std::string unit;                  ///< "s", "tokens", ... or empty
  std::optional<Node> fallback;      ///< value when the key is absent; none: the key is required
  std::optional<double> min, max;    ///< inclusive bounds of kInt and kFloat
  std::vector<std::string> choices;  ///< permitted values of kString; empty: any
  bool nullable = false;             ///< null is a value
  bool identity = true;              ///< part of the trial's identity
  bool is_input = false;             ///< kPath: contents are fingerprinted into the identity
  std::shared_ptr<Object> object;    ///< keys of a kSection, or of the elements of a kList of sections
  std::optional<FieldType> element;  ///< kList: type of the elements (kSection: see object)
};

/// The keys of one map. With `variant_key`, further keys depend on a string value found under that dotted path.
struct Object {
  // Defined where Variant is complete, which clang 14 needs.
  Object();
  Object(const Object&);
  Object(Object&&) noexcept;
  Object& operator=(const Object&);
  Object& operator=(Object&&) noexcept;
  ~Object();

  std::string doc;
  std::vector<Field> fields;
  std::string variant_key;        ///< "type", "method.type"; empty: no variants
  std::vector<Variant> variants;  ///< what each choice adds

  const Field* find(std::string_view key) const;
  Field& add(Field field);  ///< replaces a field of the same key
  /// The fields in force for a value: common ones, then those of the chosen variant (a section named in both is
  /// merged).
  std::vector<Field> fields_for(std::string_view variant) const;
};

struct Variant {
  std::string name;
  Object keys;
};

std::string schema_to_json(const Object& object, int indent = -1);
/// @throws InternalError if the text is not a schema
Object schema_from_json(std::string_view text);

}  // namespace aqlm_exp::config
