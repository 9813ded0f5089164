// Help and completion from schemas and directory listings.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>

#include "framework/base/error.h"
#include "framework/config/config_files.h"
#include "framework/config/introspection.h"
#include "framework/config/merge.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

constexpr const char* kTypeNames[] = {"int", "float", "bool", "text", "path", "map", "list"};

std::string type_name(const Field& field) {
  std::string out = kTypeNames[static_cast<int>(field.type)];
  if (field.type == FieldType::kList && field.element)
    out += fmt::format(" of {}", kTypeNames[static_cast<int>(*field.element)]);
  if (field.nullable) out += " or null";
  return out;
}

std::string number(double value) {
  return value > -1e15 && value < 1e15 && value == std::trunc(value) ? fmt::format("{:.0f}", value)
                                                                     : fmt::format("{}", value);
}

std::string facts_of(const Field& field) {
  std::vector<std::string> facts;
  if (field.fallback) {
    facts.push_back("default " + to_json(*field.fallback));
  } else if (field.type != FieldType::kSection) {
    facts.push_back("required");
  }
  if (field.min && field.max) {
    facts.push_back(fmt::format("{} to {}", number(*field.min), number(*field.max)));
  } else if (field.min) {
    facts.push_back(">= " + number(*field.min));
  } else if (field.max) {
    facts.push_back("<= " + number(*field.max));
  }
  if (!field.unit.empty()) facts.push_back("in " + field.unit);
  if (!field.choices.empty()) facts.push_back("one of " + join_names(field.choices, 30));
  if (!field.identity && field.type != FieldType::kPath) facts.push_back("not part of the identity");
  if (field.is_input) facts.push_back("contents are part of the identity");
  return join_names(facts, 10);
}

/// A part of the schema, found by a dotted path of sections and variants.
struct Part {
  std::shared_ptr<const Object> object;  // nullptr for a leaf
  std::vector<Field> fields;             // in force: with the variant's keys if one was named
  std::string doc;
};

Part find_part(const Object& schema, std::string_view path) {
  Part part{std::make_shared<Object>(schema), schema.fields, schema.doc};
  if (path.empty()) return part;
  std::string before;
  for (const std::string& step : split_key(path)) {
    if (!part.object) throw ConfigError(fmt::format("{}: '{}' has no keys", path, before));
    const auto field =
        std::find_if(part.fields.begin(), part.fields.end(), [&](const Field& f) { return f.key == step; });
    const auto variant = std::find_if(part.object->variants.begin(), part.object->variants.end(),
                                      [&](const auto& v) { return v.name == step; });
    if (field != part.fields.end()) {
      const Field found = *field;
      part = {found.object, found.object ? found.object->fields : std::vector<Field>{found}, found.doc};
    } else if (variant != part.object->variants.end()) {
      part.fields = part.object->fields_for(step);
      part.doc = variant->keys.doc;
    } else {
      std::vector<std::string> known;
      for (const Field& f : part.fields) known.push_back(f.key);
      for (const auto& [name, object] : part.object->variants) known.push_back(name);
      const std::string hint = did_you_mean(nearest_names(step, known));
      throw ConfigError(fmt::format("{}: no '{}' in {}; {}{}known: {}", path, step,
                                    before.empty() ? "the schema" : "'" + before + "'", hint, hint.empty() ? "" : " ",
                                    join_names(known, 40)));
    }
    before = join_key(before, step);
  }
  return part;
}

void describe_fields(const std::vector<Field>& fields, int depth, std::string& out) {
  for (const Field& field : fields) {
    out += fmt::format("{}{}: {}{}\n", std::string(static_cast<size_t>(2 * depth), ' '), field.key, type_name(field),
                       facts_of(field).empty() ? "" : " (" + facts_of(field) + ")");
    if (!field.doc.empty())
      out += fmt::format("{}{}\n", std::string(static_cast<size_t>(2 * depth + 4), ' '), field.doc);
    if (field.object) {
      describe_fields(field.object->fields, depth + 1, out);
      if (!field.object->variants.empty()) {
        std::vector<std::string> names;
        for (const auto& [name, object] : field.object->variants) names.push_back(name);
        out += fmt::format("{}further keys depend on {}: {}\n", std::string(static_cast<size_t>(2 * depth + 2), ' '),
                           field.object->variant_key, join_names(names, 40));
      }
    }
  }
}

/// Dotted keys of all leaves, over all variants.
void collect_keys(const Object& object, const std::string& path, std::vector<std::pair<std::string, Field>>& out) {
  const auto visit = [&](const std::vector<Field>& fields) {
    for (const Field& field : fields) {
      const std::string full = join_key(path, field.key);
      if (field.object && field.type == FieldType::kSection) {
        collect_keys(*field.object, full, out);
      } else if (std::none_of(out.begin(), out.end(), [&](const auto& item) { return item.first == full; })) {
        out.emplace_back(full, field);
      }
    }
  };
  visit(object.fields);
  for (const auto& [name, keys] : object.variants) collect_keys(keys, path, out);
}

bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

}  // namespace

std::string describe_component(const Object& schema, std::string_view path) {
  const Part part = find_part(schema, path);
  std::string out;
  if (!path.empty()) out += fmt::format("{}{}\n", path, part.doc.empty() ? "" : ": " + part.doc);
  describe_fields(part.fields, 1, out);
  if (part.object && !part.object->variants.empty()) {
    out += fmt::format("  variants by {}:\n", part.object->variant_key);
    for (const auto& [name, object] : part.object->variants) out += fmt::format("    {}: {}\n", name, object.doc);
  }
  return out;
}

Node component_data(const Object& schema, std::string_view path) {
  const Part part = find_part(schema, path);
  Object out;
  out.doc = part.doc;
  out.fields = part.fields;
  if (part.object) {
    out.variant_key = part.object->variant_key;
    out.variants = part.object->variants;
  }
  return from_json(schema_to_json(out), "schema");
}

std::vector<std::string> complete_override(std::string_view word, const ComposeRequest& request, const Object* schema) {
  std::vector<std::string> out;
  ConfigFiles files(request.file, request.roots, request.limits);
  std::string prefix;
  while (!word.empty() && (word[0] == '+' || word[0] == '~')) {
    prefix.push_back(word[0]);
    word.remove_prefix(1);
  }
  std::vector<std::pair<std::string, Field>> keys;
  if (schema != nullptr) collect_keys(*schema, "", keys);
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos) {
    const bool deletes = !prefix.empty() && prefix[0] == '~';
    std::vector<std::string> names = files.groups();
    for (const auto& [key, field] : keys) names.push_back(key);
    for (const std::string& name : names) {
      if (starts_with(name, word)) out.push_back(prefix + name + (deletes ? "" : "="));
    }
    return out;
  }
  const std::string key(word.substr(0, equals));
  const std::string_view value = word.substr(equals + 1);
  const size_t comma = value.rfind(',');  // a sweep is being typed
  const std::string_view typed = comma == std::string_view::npos ? value : value.substr(comma + 1);
  const std::string before = prefix + std::string(word.substr(0, word.size() - typed.size()));
  std::vector<std::string> values;
  const std::string group = key.substr(0, key.find('@'));
  if (files.group_exists(group)) values = files.options(group);
  for (const auto& [name, field] : keys) {
    if (name != key) continue;
    values.insert(values.end(), field.choices.begin(), field.choices.end());
    if (field.type == FieldType::kBool) values.insert(values.end(), {"true", "false"});
    if (field.nullable) values.push_back("null");
  }
  for (const std::string& candidate : values) {
    if (starts_with(candidate, typed)) out.push_back(before + candidate);
  }
  return out;
}

}  // namespace aqlm_exp::config
