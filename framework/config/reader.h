// How a component gets its keys. The same calls describe (record a schema) and read (take values from a tree that was
// checked against that schema), so a schema cannot disagree with the code that uses it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/registry.h"
#include "framework/config/schema.h"

namespace aqlm_exp::config {

struct IntegerOptions {
  std::optional<int64_t> fallback = {};
  std::optional<int64_t> min = {}, max = {};
  std::string unit = {};
  std::string doc = {};
  bool identity = true;
};
struct NumberOptions {
  std::optional<double> fallback = {};
  std::optional<double> min = {}, max = {};
  std::string unit = {};
  std::string doc = {};
  bool identity = true;
};
struct FlagOptions {
  std::optional<bool> fallback = {};
  std::string doc = {};
  bool identity = true;
};
struct TextOptions {
  std::optional<std::string> fallback = {};
  std::vector<std::string> choices = {};
  std::string doc = {};
  bool identity = true;
};
struct PathOptions {
  std::optional<std::string> fallback = {};
  std::string doc = {};
  bool input = true;  ///< a file or folder that is read: its contents enter the identity; its name does not
};
struct SectionOptions {
  std::string doc = {};
};

class Reader {
 public:
  /// Describes: values are fallbacks, or the type's smallest permitted value where there is none.
  explicit Reader(Object& schema) : schema_(&schema) {}
  /// Reads `values` (a map that passed check(); must outlive the reader).
  explicit Reader(const Node& values) : values_(&values) {}

  bool describing() const { return schema_ != nullptr; }

  int64_t integer(std::string_view key, const IntegerOptions& options);
  double number(std::string_view key, const NumberOptions& options);
  bool flag(std::string_view key, const FlagOptions& options);
  std::string text(std::string_view key, const TextOptions& options);
  std::filesystem::path path(std::string_view key, const PathOptions& options);
  std::vector<std::string> texts(std::string_view key,
                                 const TextOptions& options);  ///< list of strings; fallback: empty
  /// null when the key is absent or null
  std::optional<int64_t> optional_integer(std::string_view key, const IntegerOptions& options);
  std::optional<double> optional_number(std::string_view key, const NumberOptions& options);

  /// A nested map. An absent one reads as empty.
  Reader section(std::string_view key, const SectionOptions& options = {});
  /// A list of maps with the same keys; calls `read` once an element (once in all when describing).
  void sections(std::string_view key, const SectionOptions& options, const std::function<void(Reader&)>& read);

  /// The component named by `<key>.type`; its keys stand beside `type`. Absent section: `fallback_type` with its
  /// fallbacks.
  template <typename Interface>
  std::unique_ptr<Interface> component(std::string_view key, const Registry<Interface>& registry,
                                       const std::string& doc, const std::string& fallback_type = {}) {
    Reader inner = section(key, {.doc = doc});
    return inner.template variant<Interface>("type", registry, fallback_type);
  }

  /// The component named by the string under the dotted `key`; its maker reads keys of this same map.
  template <typename Interface>
  std::unique_ptr<Interface> variant(std::string_view key, const Registry<Interface>& registry,
                                     const std::string& fallback_type = {}) {
    std::unique_ptr<Interface> made;
    if (describing()) {
      std::vector<std::string> names;
      for (const auto& entry : registry.entries()) names.push_back(entry.name);
      declare_variants(key, names, fallback_type);
      for (const auto& entry : registry.entries()) {
        Object& keys = add_variant(entry.name, entry.doc);
        Reader inner(keys);
        auto candidate = entry.maker(inner);
        if (!made || entry.name == fallback_type) made = std::move(candidate);
      }
      return made;
    }
    const std::string name = variant_name(key, fallback_type);
    const auto* entry = registry.find(name);
    if (entry == nullptr) throw_unknown_variant(key, name);
    return entry->maker(*this);
  }

 private:
  Field& record(std::string_view key, FieldType type, const std::string& doc);
  const Node* value(std::string_view key) const;
  void declare_variants(std::string_view key, const std::vector<std::string>& names, const std::string& fallback);
  Object& add_variant(const std::string& name, const std::string& doc);
  std::string variant_name(std::string_view key, const std::string& fallback) const;
  [[noreturn]] void throw_unknown_variant(std::string_view key, const std::string& name) const;

  Object* schema_ = nullptr;      // describing
  const Node* values_ = nullptr;  // reading
};

/// Runs `read` with a describing reader.
Object describe(const std::function<void(Reader&)>& read);

}  // namespace aqlm_exp::config
