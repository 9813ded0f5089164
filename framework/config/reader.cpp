#include "framework/config/reader.h"

#include <algorithm>

namespace aqlm_exp::config {
namespace {

const Node& empty_map() {
  static const Node node = Node::map();
  return node;
}

}  // namespace

Field& Reader::record(std::string_view key, FieldType type, const std::string& doc) {
  Field field;
  field.key = std::string(key);
  field.type = type;
  field.doc = doc;
  return schema_->add(std::move(field));
}

const Node* Reader::value(std::string_view key) const {
  const Node* node = values_->map_value().find(key);
  return node == nullptr || node->is_null() ? nullptr : node;
}

int64_t Reader::integer(std::string_view key, const IntegerOptions& options) {
  if (describing()) {
    Field& field = record(key, FieldType::kInt, options.doc);
    field.unit = options.unit;
    field.identity = options.identity;
    if (options.fallback) field.fallback = Node::integer(*options.fallback);
    if (options.min) field.min = static_cast<double>(*options.min);
    if (options.max) field.max = static_cast<double>(*options.max);
    return options.fallback.value_or(options.min.value_or(0));
  }
  if (const Node* node = value(key)) return node->as_int();
  if (!options.fallback) throw ConfigError(std::string(key) + ": required, not given");
  return *options.fallback;
}

double Reader::number(std::string_view key, const NumberOptions& options) {
  if (describing()) {
    Field& field = record(key, FieldType::kFloat, options.doc);
    field.unit = options.unit;
    field.identity = options.identity;
    if (options.fallback) field.fallback = Node::number(*options.fallback);
    field.min = options.min;
    field.max = options.max;
    return options.fallback.value_or(options.min.value_or(0.0));
  }
  if (const Node* node = value(key)) return node->as_number();
  if (!options.fallback) throw ConfigError(std::string(key) + ": required, not given");
  return *options.fallback;
}

bool Reader::flag(std::string_view key, const FlagOptions& options) {
  if (describing()) {
    Field& field = record(key, FieldType::kBool, options.doc);
    field.identity = options.identity;
    if (options.fallback) field.fallback = Node::boolean(*options.fallback);
    return options.fallback.value_or(false);
  }
  if (const Node* node = value(key)) return node->as_bool();
  if (!options.fallback) throw ConfigError(std::string(key) + ": required, not given");
  return *options.fallback;
}

std::string Reader::text(std::string_view key, const TextOptions& options) {
  if (describing()) {
    Field& field = record(key, FieldType::kString, options.doc);
    field.identity = options.identity;
    field.choices = options.choices;
    if (options.fallback) field.fallback = Node::string(*options.fallback);
    return options.fallback.value_or(options.choices.empty() ? std::string() : options.choices.front());
  }
  if (const Node* node = value(key)) return node->as_string();
  if (!options.fallback) throw ConfigError(std::string(key) + ": required, not given");
  return *options.fallback;
}

std::filesystem::path Reader::path(std::string_view key, const PathOptions& options) {
  if (describing()) {
    Field& field = record(key, FieldType::kPath, options.doc);
    field.is_input = options.input;
    field.identity = options.input;
    if (options.fallback) field.fallback = Node::string(*options.fallback);
    return options.fallback.value_or("");
  }
  if (const Node* node = value(key)) return node->as_string();
  if (!options.fallback) throw ConfigError(std::string(key) + ": required, not given");
  return *options.fallback;
}

std::vector<std::string> Reader::texts(std::string_view key, const TextOptions& options) {
  if (describing()) {
    Field& field = record(key, FieldType::kList, options.doc);
    field.identity = options.identity;
    field.choices = options.choices;
    field.element = FieldType::kString;
    field.fallback = Node::list();
    return {};
  }
  std::vector<std::string> out;
  if (const Node* node = value(key)) {
    for (const Node& item : node->items()) out.push_back(item.as_string());
  }
  return out;
}

std::optional<int64_t> Reader::optional_integer(std::string_view key, const IntegerOptions& options) {
  if (describing()) {
    integer(key, options);
    Field& field = *const_cast<Field*>(schema_->find(key));
    field.nullable = true;
    if (!field.fallback) field.fallback = Node::null();
    return options.fallback;
  }
  if (const Node* node = value(key)) return node->as_int();
  return values_->map_value().find(key) != nullptr ? std::nullopt : options.fallback;
}

std::optional<double> Reader::optional_number(std::string_view key, const NumberOptions& options) {
  if (describing()) {
    number(key, options);
    Field& field = *const_cast<Field*>(schema_->find(key));
    field.nullable = true;
    if (!field.fallback) field.fallback = Node::null();
    return options.fallback;
  }
  if (const Node* node = value(key)) return node->as_number();
  return values_->map_value().find(key) != nullptr ? std::nullopt : options.fallback;
}

Reader Reader::section(std::string_view key, const SectionOptions& options) {
  if (describing()) {
    if (const Field* existing = schema_->find(key); existing != nullptr && existing->object) {
      return Reader(*existing->object);
    }
    Field& field = record(key, FieldType::kSection, options.doc);
    field.object = std::make_shared<Object>();
    field.object->doc = options.doc;
    return Reader(*field.object);
  }
  const Node* node = value(key);
  return Reader(node == nullptr ? empty_map() : *node);
}

void Reader::sections(std::string_view key, const SectionOptions& options, const std::function<void(Reader&)>& read) {
  if (describing()) {
    Field& field = record(key, FieldType::kList, options.doc);
    field.element = FieldType::kSection;
    field.fallback = Node::list();
    field.object = std::make_shared<Object>();
    Reader inner(*field.object);
    read(inner);
    return;
  }
  if (const Node* node = value(key)) {
    for (const Node& item : node->items()) {
      Reader inner(item);
      read(inner);
    }
  }
}

void Reader::declare_variants(std::string_view key, const std::vector<std::string>& names,
                              const std::string& fallback) {
  schema_->variant_key = std::string(key);
  Object* owner = schema_;
  std::string_view rest = key;
  for (size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
    Reader inner = Reader(*owner).section(rest.substr(0, dot));
    owner = inner.schema_;
    rest = rest.substr(dot + 1);
  }
  Reader(*owner).text(
      rest,
      {.fallback = fallback.empty() ? std::nullopt : std::optional(fallback), .choices = names, .doc = "which one"});
}

Object& Reader::add_variant(const std::string& name, const std::string& doc) {
  schema_->variants.push_back({name, Object{}});
  schema_->variants.back().keys.doc = doc;
  return schema_->variants.back().keys;
}

std::string Reader::variant_name(std::string_view key, const std::string& fallback) const {
  const Node* node = values_->at(key);
  if (node == nullptr || node->is_null()) {
    if (fallback.empty()) throw ConfigError(std::string(key) + ": required, not given");
    return fallback;
  }
  return node->as_string();
}

void Reader::throw_unknown_variant(std::string_view key, const std::string& name) const {
  throw ConfigError(std::string(key) + ": unknown \"" + name + "\"");
}

Object describe(const std::function<void(Reader&)>& read) {
  Object schema;
  Reader reader(schema);
  read(reader);
  return schema;
}

}  // namespace aqlm_exp::config
