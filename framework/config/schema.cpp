#include "framework/config/schema.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"

namespace aqlm_exp::config {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kTypeNames[] = {"int", "float", "bool", "string", "path", "section", "list"};

FieldType type_from_name(const std::string& name) {
  for (int i = 0; i < 7; ++i) {
    if (name == kTypeNames[i]) return static_cast<FieldType>(i);
  }
  throw InternalError("[schema] unknown field type \"" + name + "\"");
}

Json object_to_json(const Object& object);

Json field_to_json(const Field& field) {
  Json out = Json::object();
  out["key"] = field.key;
  out["type"] = kTypeNames[static_cast<int>(field.type)];
  if (!field.doc.empty()) out["doc"] = field.doc;
  if (!field.unit.empty()) out["unit"] = field.unit;
  if (field.fallback) out["default"] = Json::parse(to_json(*field.fallback));
  if (field.min) out["min"] = *field.min;
  if (field.max) out["max"] = *field.max;
  if (!field.choices.empty()) out["choices"] = field.choices;
  if (field.nullable) out["nullable"] = true;
  if (!field.identity) out["identity"] = false;
  if (field.is_input) out["input"] = true;
  if (field.element) out["element"] = kTypeNames[static_cast<int>(*field.element)];
  if (field.object) out["object"] = object_to_json(*field.object);
  return out;
}

Json object_to_json(const Object& object) {
  Json out = Json::object();
  if (!object.doc.empty()) out["doc"] = object.doc;
  out["fields"] = Json::array();
  for (const Field& field : object.fields) out["fields"].push_back(field_to_json(field));
  if (!object.variant_key.empty()) {
    out["variant_key"] = object.variant_key;
    out["variants"] = Json::object();
    for (const auto& [name, keys] : object.variants) out["variants"][name] = object_to_json(keys);
  }
  return out;
}

Object object_from_json(const Json& json);

Field field_from_json(const Json& json) {
  Field field;
  field.key = json.at("key").get<std::string>();
  field.type = type_from_name(json.at("type").get<std::string>());
  field.doc = json.value("doc", "");
  field.unit = json.value("unit", "");
  if (json.contains("default")) field.fallback = from_json(json["default"].dump(), "schema");
  if (json.contains("min")) field.min = json["min"].get<double>();
  if (json.contains("max")) field.max = json["max"].get<double>();
  if (json.contains("choices")) field.choices = json["choices"].get<std::vector<std::string>>();
  field.nullable = json.value("nullable", false);
  field.identity = json.value("identity", true);
  field.is_input = json.value("input", false);
  if (json.contains("element")) field.element = type_from_name(json["element"].get<std::string>());
  if (json.contains("object")) field.object = std::make_shared<Object>(object_from_json(json["object"]));
  return field;
}

Object object_from_json(const Json& json) {
  Object object;
  object.doc = json.value("doc", "");
  for (const Json& field : json.at("fields")) object.fields.push_back(field_from_json(field));
  if (json.contains("variant_key")) {
    object.variant_key = json["variant_key"].get<std::string>();
    for (const auto& [name, keys] : json.at("variants").items()) {
      object.variants.push_back({name, object_from_json(keys)});
    }
  }
  return object;
}

/// Adds `extra` to `into`; sections that both have are merged key by key.
void merge_fields(std::vector<Field>& into, const std::vector<Field>& extra) {
  for (const Field& field : extra) {
    const auto same = std::find_if(into.begin(), into.end(), [&](const Field& f) { return f.key == field.key; });
    if (same == into.end()) {
      into.push_back(field);
    } else if (same->object && field.object) {
      auto merged = std::make_shared<Object>(*same->object);
      merge_fields(merged->fields, field.object->fields);
      if (!field.object->variant_key.empty()) {
        merged->variant_key = field.object->variant_key;
        merged->variants = field.object->variants;
      }
      same->object = std::move(merged);
    } else {
      *same = field;
    }
  }
}

}  // namespace

Object::Object() = default;
Object::Object(const Object&) = default;
Object::Object(Object&&) noexcept = default;
Object& Object::operator=(const Object&) = default;
Object& Object::operator=(Object&&) noexcept = default;
Object::~Object() = default;

const Field* Object::find(std::string_view key) const {
  for (const Field& field : fields) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

Field& Object::add(Field field) {
  for (Field& existing : fields) {
    if (existing.key == field.key) return existing = std::move(field);
  }
  fields.push_back(std::move(field));
  return fields.back();
}

std::vector<Field> Object::fields_for(std::string_view variant) const {
  std::vector<Field> all = fields;
  for (const auto& [name, keys] : variants) {
    if (name == variant) merge_fields(all, keys.fields);
  }
  return all;
}

std::string schema_to_json(const Object& object, int indent) { return object_to_json(object).dump(indent); }

Object schema_from_json(std::string_view text) {
  try {
    return object_from_json(Json::parse(text));
  } catch (const nlohmann::json::exception& e) {
    throw InternalError(std::string("[schema] not a schema: ") + e.what());
  }
}

}  // namespace aqlm_exp::config
