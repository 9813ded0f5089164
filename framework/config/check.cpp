#include "framework/config/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "framework/config/merge.h"
#include "framework/config/scalar.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

constexpr const char* kTypeWords[] = {"an integer", "a number", "true or false", "text", "a path", "a map", "a list"};

const char* type_word(FieldType type) { return kTypeWords[static_cast<int>(type)]; }

std::string shown(const Node& node) {
  std::string text = to_json(node);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

/// "1 <= x <= 16", "x >= 1": the permitted interval of a field.
std::string interval(const Field& field) {
  const auto number = [&](double value) {
    return field.type == FieldType::kInt || field.element == FieldType::kInt ? fmt::format("{:.0f}", value)
                                                                             : fmt::format("{}", value);
  };
  if (field.min && field.max) return fmt::format("{} to {}", number(*field.min), number(*field.max));
  if (field.min) return fmt::format(">= {}", number(*field.min));
  return fmt::format("<= {}", number(*field.max));
}

/// Name of the variant in force: the value under `variant_key`, else that field's fallback; "" if neither is text.
std::string variant_of(const Node* map, const Object& schema) {
  if (schema.variant_key.empty()) return {};
  const Node* node = map == nullptr ? nullptr : map->at(schema.variant_key);
  if (node == nullptr || node->is_null() || node->is_missing()) {
    const Object* owner = &schema;
    const Field* field = nullptr;
    for (const std::string& part : split_key(schema.variant_key)) {
      field = owner == nullptr ? nullptr : owner->find(part);
      owner = field == nullptr ? nullptr : field->object.get();
    }
    node = field != nullptr && field->fallback ? &*field->fallback : nullptr;
  }
  return node != nullptr && node->is_string() ? node->as_string() : std::string();
}

bool has_variant(const Object& schema, const std::string& name) {
  return std::any_of(schema.variants.begin(), schema.variants.end(),
                     [&](const auto& variant) { return variant.name == name; });
}

class Checker {
 public:
  explicit Checker(std::vector<Problem>& problems) : problems_(problems) {}

  /// `map` may be null: then every fallback is used and `where` is the place of the enclosing value.
  Node object(const Node* map, const Object& schema, const std::string& path, const Mark& where) {
    const std::string variant = variant_of(map, schema);
    std::vector<Field> fields = schema.fields_for(variant);
    const bool known_variant = schema.variant_key.empty() || has_variant(schema, variant);
    Node out = Node::map(map == nullptr ? where : map->mark());
    for (const Field& field : fields) {
      const Node* given = map == nullptr ? nullptr : map->map_value().find(field.key);
      const std::string full = join_key(path, field.key);
      Node value = given == nullptr ? absent(field, full, map == nullptr ? where : map->mark())
                                    : this->value(*given, field, full);
      const Mark* key_mark = given == nullptr ? nullptr : map->map_value().find_key_mark(field.key);
      out.map_value().set(field.key, std::move(value), key_mark == nullptr ? Mark{} : *key_mark);
    }
    // With an unknown variant, keys that only it would have are consequences.
    if (map != nullptr && known_variant) unknown_keys(*map, fields, schema, variant, path);
    return out;
  }

 private:
  void fault(const char* code, const Mark& mark, const std::string& path, std::string message, std::string help = {},
             std::string hint = {}, size_t length = 1) {
    Problem problem{code, mark, path, std::move(message), std::move(help)};
    problem.hint = std::move(hint);
    problem.length = static_cast<int>(std::min<size_t>(std::max<size_t>(length, 1), 200));
    problems_.push_back(std::move(problem));
  }

  static std::string about(const Field& field) {
    std::string out = field.doc;
    if (!field.unit.empty()) out += (out.empty() ? "in " : ", in ") + field.unit;
    return out;
  }

  static std::string example(const Field& field) {
    if (!field.choices.empty()) return join_names(field.choices);
    if (field.min || field.max) return interval(field);
    return type_word(field.type);
  }

  Node absent(const Field& field, const std::string& path, const Mark& where) {
    if (field.fallback) return *field.fallback;
    if (field.type == FieldType::kSection && field.object) return object(nullptr, *field.object, path, where);
    fault("S104", where, path, fmt::format("'{}' is required and not given", path),
          fmt::format("set {}=VALUE ({})", path, example(field)), about(field));
    return Node::null(where);
  }

  Node value(const Node& node, const Field& field, const std::string& path) {
    if (node.is_missing()) {
      fault("S105", node.mark(), path, fmt::format("'{}' is required and still ???", path),
            fmt::format("set {}=VALUE ({})", path, example(field)), about(field), 3);
      return Node::null(node.mark());
    }
    if (node.is_null()) {
      if (!field.nullable) {
        fault("S106", node.mark(), path, fmt::format("'{}' is null, need {}", path, type_word(field.type)),
              field.fallback ? fmt::format("remove the key to get {}", shown(*field.fallback)) : "give it a value",
              about(field), 4);
      }
      return node;
    }
    if (field.type == FieldType::kSection) return section(node, field, path);
    if (field.type == FieldType::kList) return list(node, field, path);
    return scalar(node, field.type, field, path);
  }

  Node section(const Node& node, const Field& field, const std::string& path) {
    if (!node.is_map()) {
      wrong_type(node, FieldType::kSection, path, field);
      return node;
    }
    return field.object ? object(&node, *field.object, path, node.mark()) : node;
  }

  Node list(const Node& node, const Field& field, const std::string& path) {
    if (!node.is_list()) {
      fault("S101", node.mark(), path,
            fmt::format("'{}' got {} {}, need a list", path, kind_name(node.kind()), shown(node)),
            node.is_map() ? "start each element with '- '"
                          : fmt::format("write {}=[{}]", path, node.is_string() ? node.as_string() : shown(node)),
            about(field), shown(node).size());
      return node;
    }
    Node::List items;
    for (size_t i = 0; i < node.items().size(); ++i) {
      const Node& item = node.items()[i];
      const std::string full = fmt::format("{}[{}]", path, i);
      if (item.is_missing() || item.is_null()) {
        fault(item.is_null() ? "S106" : "S105", item.mark(), full,
              fmt::format("'{}' is {}, need a value", full, item.is_null() ? "null" : "???"),
              "give it a value or remove the element", about(field));
        continue;
      }
      const FieldType type = field.element.value_or(FieldType::kString);
      if (type != FieldType::kSection) {
        items.push_back(scalar(item, type, field, full));
      } else if (!item.is_map()) {
        wrong_type(item, type, full, field);
      } else {
        items.push_back(field.object ? object(&item, *field.object, full, item.mark()) : item);
      }
    }
    return Node::list(std::move(items), node.mark());
  }

  void wrong_type(const Node& node, FieldType type, const std::string& path, const Field& field) {
    std::string help;
    if (type == FieldType::kSection) {
      help = "write keys below it, indented";
    } else if (type == FieldType::kInt && node.is_float()) {
      help = "drop the fraction; 3.0 is no integer";
    } else if ((type == FieldType::kString || type == FieldType::kPath) && !node.is_map() && !node.is_list()) {
      help = fmt::format("quote it: \"{}\"", shown(node));
    } else if (type == FieldType::kBool) {
      help = "write true or false";
    }
    fault("S101", node.mark(), path,
          fmt::format("'{}' got {} {}, need {}", path, kind_name(node.kind()), shown(node), type_word(type)), help,
          about(field), node.is_map() || node.is_list() ? 1 : shown(node).size());
  }

  Node scalar(const Node& node, FieldType type, const Field& field, const std::string& path) {
    std::optional<Node> out = coerced(node, type);
    if (!out) {
      wrong_type(node, type, path, field);
      return node;
    }
    if (out->is_int() || out->is_float()) {
      const double number = out->as_number();
      const bool low = field.min && !(number >= *field.min), high = field.max && !(number <= *field.max);
      if (low || high) {
        fault("S102", node.mark(), path, fmt::format("'{}' got {}, need {}", path, shown(*out), interval(field)), {},
              about(field), shown(node).size());
      }
    }
    if (out->is_string() && !field.choices.empty()) {
      const std::string& text = out->as_string();
      if (std::find(field.choices.begin(), field.choices.end(), text) == field.choices.end()) {
        fault("S103", node.mark(), path, fmt::format("'{}' got unknown '{}'", path, text),
              "known: " + join_names(field.choices, 20), did_you_mean(nearest_names(text, field.choices)), text.size());
      }
    }
    return *out;
  }

  static std::optional<Node> coerced(const Node& node, FieldType type) {
    switch (type) {
      case FieldType::kInt:
      case FieldType::kFloat: {
        Node number = node;
        if (node.is_string()) {
          const ScalarReading reading = read_override_scalar(node.as_string(), node.mark());
          if (!reading.value) return std::nullopt;
          number = *reading.value;
        }
        if (type == FieldType::kInt) return number.is_int() ? std::optional(number) : std::nullopt;
        if (number.is_int()) return Node::number(number.as_number(), node.mark());
        return number.is_float() ? std::optional(number) : std::nullopt;
      }
      case FieldType::kBool:
        return node.is_bool() ? std::optional(node) : std::nullopt;
      default:
        return node.is_string() ? std::optional(node) : std::nullopt;
    }
  }

  void unknown_keys(const Node& map, const std::vector<Field>& fields, const Object& schema, const std::string& variant,
                    const std::string& path) {
    for (const MapEntry& entry : map.map_value().entries()) {
      if (std::any_of(fields.begin(), fields.end(), [&](const Field& field) { return field.key == entry.key; }))
        continue;
      std::vector<std::string> known;
      for (const Field& field : fields) known.push_back(field.key);
      std::string hint = did_you_mean(nearest_names(entry.key, known));
      std::vector<std::string> owners;
      for (const auto& [name, keys] : schema.variants) {
        if (keys.find(entry.key) != nullptr) owners.push_back(name);
      }
      if (hint.empty() && !owners.empty()) {
        hint = fmt::format("a key of {} {}, not of {}", schema.variant_key, join_names(owners), variant);
      }
      const std::string full = join_key(path, entry.key);
      fault("C104", entry.key_mark.source.empty() ? entry.value.mark() : entry.key_mark, full,
            fmt::format("unknown key '{}'", full),
            known.empty() ? std::string("no keys are known here") : "keys here: " + join_names(known, 20), hint,
            entry.key.size());
    }
  }

  std::vector<Problem>& problems_;
};

/// Calls `visit` for each field of a coerced tree together with its value and dotted path.
void walk(Node& map, const Object& schema, const std::string& path,
          const std::function<void(const Field&, Node&, const std::string&)>& visit) {
  if (!map.is_map()) return;
  for (const Field& field : schema.fields_for(variant_of(&map, schema))) {
    Node* value = map.map_value().find(field.key);
    if (value == nullptr) continue;
    const std::string full = join_key(path, field.key);
    visit(field, *value, full);
    if (!field.object) continue;
    if (value->is_map()) walk(*value, *field.object, full, visit);
    if (value->is_list()) {
      for (size_t i = 0; i < value->items().size(); ++i) {
        walk(value->items()[i], *field.object, full + "." + std::to_string(i), visit);
      }
    }
  }
}

Node identity_of(const Node& map, const Object& schema) {
  Node out = Node::map();
  if (!map.is_map()) return map;
  for (const Field& field : schema.fields_for(variant_of(&map, schema))) {
    const Node* value = map.map_value().find(field.key);
    if (value == nullptr || !field.identity || field.is_input) continue;
    if (field.object && value->is_map()) {
      out.map_value().set(field.key, identity_of(*value, *field.object));
    } else if (field.object && value->is_list()) {
      Node::List items;
      for (const Node& item : value->items()) items.push_back(identity_of(item, *field.object));
      out.map_value().set(field.key, Node::list(std::move(items)));
    } else {
      out.map_value().set(field.key, *value);
    }
  }
  return out;
}

}  // namespace

Node check(const Node& tree, const Object& schema, std::vector<Problem>& problems) {
  return Checker(problems).object(&tree, schema, "", tree.mark());
}

Node identity_part(const Node& coerced, const Object& schema) { return identity_of(coerced, schema); }

std::vector<std::pair<std::string, std::string>> input_paths(const Node& coerced, const Object& schema) {
  std::vector<std::pair<std::string, std::string>> out;
  walk(const_cast<Node&>(coerced), schema, "", [&](const Field& field, Node& value, const std::string& path) {
    if (!field.is_input) return;
    if (value.is_string() && !value.as_string().empty()) out.emplace_back(path, value.as_string());
    if (value.is_list()) {
      for (size_t i = 0; i < value.items().size(); ++i)
        out.emplace_back(path + "." + std::to_string(i), value.items()[i].as_string());
    }
  });
  return out;
}

void resolve_paths(Node& coerced, const Object& schema, const PathRules& rules, std::vector<Problem>& problems) {
  namespace fs = std::filesystem;
  const auto resolve = [&](Node& node, const std::string& path) {
    if (!node.is_string() || node.as_string().empty()) return;
    const std::string& text = node.as_string();
    fs::path out;
    if (text.rfind("builtin:", 0) == 0) {
      const fs::path inner = fs::path(text.substr(8)).lexically_normal();
      if (inner.empty() || inner.is_absolute() || *inner.begin() == "..") {
        problems.push_back({"S107", node.mark(), path,
                            fmt::format("'{}' got '{}', need a path below what is installed", path, text),
                            "write builtin:models/..., without a leading / or .."});
        return;
      }
      out = rules.builtin_root / inner;
    } else if (fs::path(text).is_absolute()) {
      out = text;
    } else if (node.mark().line > 0) {
      out = rules.working_directory / fs::path(node.mark().source).parent_path() / text;
    } else {
      out = rules.working_directory / text;
    }
    std::string absolute = out.lexically_normal().string();
    if (absolute.size() > 1 && absolute.back() == '/') absolute.pop_back();
    node = Node::string(std::move(absolute), node.mark());
  };
  walk(coerced, schema, "", [&](const Field& field, Node& value, const std::string& path) {
    if (field.type == FieldType::kPath) resolve(value, path);
    if (field.type == FieldType::kList && field.element == FieldType::kPath && value.is_list()) {
      for (Node& item : value.items()) resolve(item, path);
    }
  });
}

}  // namespace aqlm_exp::config
