#include "framework/config/node.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"

namespace aqlm_exp::config {
namespace {

using Json = nlohmann::ordered_json;

void write_json(const Node& node, int indent, int depth, std::string& out) {
  const auto new_line = [&](int level) {
    if (indent < 0) return;
    out.push_back('\n');
    out.append(static_cast<size_t>(indent * level), ' ');
  };
  switch (node.kind()) {
    case Node::Kind::kNull:
      out += "null";
      return;
    case Node::Kind::kBool:
      out += node.as_bool() ? "true" : "false";
      return;
    case Node::Kind::kInt:
      out += std::to_string(node.as_int());
      return;
    case Node::Kind::kFloat: {
      const double value = node.as_number();
      if (std::isnan(value)) {
        out += "\".nan\"";
      } else if (std::isinf(value)) {
        out += value > 0 ? "\".inf\"" : "\"-.inf\"";
      } else {
        out += float_text(value);
      }
      return;
    }
    case Node::Kind::kString:
      out += json_quote(node.as_string());
      return;
    case Node::Kind::kList: {
      if (node.items().empty()) {
        out += "[]";
        return;
      }
      out.push_back('[');
      bool first = true;
      for (const Node& item : node.items()) {
        if (!first) out += indent < 0 ? ", " : ",";
        first = false;
        new_line(depth + 1);
        write_json(item, indent, depth + 1, out);
      }
      new_line(depth);
      out.push_back(']');
      return;
    }
    case Node::Kind::kMap: {
      if (node.map_value().empty()) {
        out += "{}";
        return;
      }
      out.push_back('{');
      bool first = true;
      for (const MapEntry& entry : node.map_value().entries()) {
        if (!first) out += indent < 0 ? ", " : ",";
        first = false;
        new_line(depth + 1);
        out += json_quote(entry.key) + ": ";
        write_json(entry.value, indent, depth + 1, out);
      }
      new_line(depth);
      out.push_back('}');
      return;
    }
  }
}

Node from_json_value(const Json& json, const Mark& mark) {
  switch (json.type()) {
    case Json::value_t::boolean:
      return Node::boolean(json.get<bool>(), mark);
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return Node::integer(json.get<int64_t>(), mark);
    case Json::value_t::number_float:
      return Node::number(json.get<double>(), mark);
    case Json::value_t::string:
      return Node::string(json.get<std::string>(), mark);
    case Json::value_t::array: {
      Node::List items;
      for (const Json& item : json) items.push_back(from_json_value(item, mark));
      return Node::list(std::move(items), mark);
    }
    case Json::value_t::object: {
      Node out = Node::map(mark);
      for (const auto& [key, value] : json.items()) out.map_value().set(key, from_json_value(value, mark), mark);
      return out;
    }
    default:
      return Node::null(mark);
  }
}

[[noreturn]] void wrong_kind(const Node& node, const char* wanted) {
  throw InternalError(std::string("[config::Node] ") + node.mark().str() + ": got " + kind_name(node.kind()) +
                      ", need " + wanted);
}

}  // namespace

std::string Mark::str() const {
  if (line == 0) return column == 0 ? source : source + ", column " + std::to_string(column);
  return source + ":" + std::to_string(line) + ":" + std::to_string(column);
}

NodeMap::NodeMap() = default;
NodeMap::NodeMap(const NodeMap&) = default;
NodeMap::NodeMap(NodeMap&&) noexcept = default;
NodeMap& NodeMap::operator=(const NodeMap&) = default;
NodeMap& NodeMap::operator=(NodeMap&&) noexcept = default;
NodeMap::~NodeMap() = default;

Node* NodeMap::find(std::string_view key) {
  const auto it = index_.find(std::string(key));
  return it == index_.end() ? nullptr : &entries_[it->second].value;
}

const Node* NodeMap::find(std::string_view key) const { return const_cast<NodeMap*>(this)->find(key); }

Node& NodeMap::set(std::string key, Node value, Mark key_mark) {
  if (const auto it = index_.find(key); it != index_.end()) {
    MapEntry& entry = entries_[it->second];
    entry.value = std::move(value);
    entry.key_mark = std::move(key_mark);
    return entry.value;
  }
  index_.emplace(key, entries_.size());
  entries_.push_back({std::move(key), std::move(value), std::move(key_mark)});
  return entries_.back().value;
}

const Mark* NodeMap::find_key_mark(std::string_view key) const {
  const auto it = index_.find(std::string(key));
  return it == index_.end() ? nullptr : &entries_[it->second].key_mark;
}

void NodeMap::set_key_mark(std::string_view key, Mark mark) {
  const auto it = index_.find(std::string(key));
  if (it != index_.end()) entries_[it->second].key_mark = std::move(mark);
}

bool NodeMap::erase(std::string_view key) {
  const auto it = index_.find(std::string(key));
  if (it == index_.end()) return false;
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(it->second));
  index_.clear();
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].key, i);
  return true;
}

Node Node::null(Mark mark) {
  Node node;
  node.mark_ = std::move(mark);
  return node;
}
Node Node::boolean(bool value, Mark mark) {
  Node node = null(std::move(mark));
  node.value_ = value;
  return node;
}
Node Node::integer(int64_t value, Mark mark) {
  Node node = null(std::move(mark));
  node.value_ = value;
  return node;
}
Node Node::number(double value, Mark mark) {
  Node node = null(std::move(mark));
  node.value_ = value;
  return node;
}
Node Node::string(std::string value, Mark mark) {
  Node node = null(std::move(mark));
  node.value_ = std::move(value);
  return node;
}
Node Node::list(List items, Mark mark) {
  Node node = null(std::move(mark));
  node.value_ = std::move(items);
  return node;
}
Node Node::map(Mark mark) {
  Node node = null(std::move(mark));
  node.value_ = NodeMap{};
  return node;
}

bool Node::as_bool() const {
  if (!is_bool()) wrong_kind(*this, "bool");
  return std::get<bool>(value_);
}
int64_t Node::as_int() const {
  if (!is_int()) wrong_kind(*this, "int");
  return std::get<int64_t>(value_);
}
double Node::as_number() const {
  if (is_int()) return static_cast<double>(std::get<int64_t>(value_));
  if (!is_float()) wrong_kind(*this, "number");
  return std::get<double>(value_);
}
const std::string& Node::as_string() const {
  if (!is_string()) wrong_kind(*this, "string");
  return std::get<std::string>(value_);
}
const Node::List& Node::items() const {
  if (!is_list()) wrong_kind(*this, "list");
  return std::get<List>(value_);
}
Node::List& Node::items() {
  if (!is_list()) wrong_kind(*this, "list");
  return std::get<List>(value_);
}
const NodeMap& Node::map_value() const {
  if (!is_map()) wrong_kind(*this, "map");
  return std::get<NodeMap>(value_);
}
NodeMap& Node::map_value() {
  if (!is_map()) wrong_kind(*this, "map");
  return std::get<NodeMap>(value_);
}

const Node* Node::at(std::string_view dotted) const {
  const Node* node = this;
  while (node != nullptr && !dotted.empty()) {
    const size_t dot = dotted.find('.');
    const std::string_view part = dotted.substr(0, dot);
    dotted = dot == std::string_view::npos ? std::string_view{} : dotted.substr(dot + 1);
    if (node->is_map()) {
      node = node->map_value().find(part);
    } else if (node->is_list() && !part.empty() && part.size() < 10 &&
               part.find_first_not_of("0123456789") == std::string_view::npos) {
      const size_t i = std::stoul(std::string(part));
      node = i < node->items().size() ? &node->items()[i] : nullptr;
    } else {
      node = nullptr;
    }
  }
  return node;
}

const char* kind_name(Node::Kind kind) {
  constexpr const char* kNames[] = {"null", "bool", "int", "float", "string", "list", "map"};
  return kNames[static_cast<int>(kind)];
}

bool same_data(const Node& a, const Node& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Node::Kind::kNull:
      return true;
    case Node::Kind::kBool:
      return a.as_bool() == b.as_bool();
    case Node::Kind::kInt:
      return a.as_int() == b.as_int();
    case Node::Kind::kFloat:
      return a.as_number() == b.as_number() || (std::isnan(a.as_number()) && std::isnan(b.as_number()));
    case Node::Kind::kString:
      return a.as_string() == b.as_string();
    case Node::Kind::kList:
      if (a.items().size() != b.items().size()) return false;
      for (size_t i = 0; i < a.items().size(); ++i) {
        if (!same_data(a.items()[i], b.items()[i])) return false;
      }
      return true;
    case Node::Kind::kMap:
      if (a.map_value().size() != b.map_value().size()) return false;
      for (const MapEntry& entry : a.map_value().entries()) {
        const Node* other = b.map_value().find(entry.key);
        if (other == nullptr || !same_data(entry.value, *other)) return false;
      }
      return true;
  }
  return false;
}

std::string to_json(const Node& node, int indent) {
  std::string out;
  write_json(node, indent, 0, out);
  return out;
}

std::string json_quote(std::string_view text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);  // shortest round trip; exponent below 1e-4 and from 1e16, as in Python
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

Node from_json(std::string_view text, const std::string& source) {
  try {
    return from_json_value(Json::parse(text), Mark{source, 0, 0});
  } catch (const nlohmann::json::exception& e) {
    throw ConfigError(source + ": not valid JSON: " + e.what());
  }
}

}  // namespace aqlm_exp::config
