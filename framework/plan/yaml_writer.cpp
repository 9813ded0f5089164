// Writes a tree as YAML 1.2 in block style.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "framework/plan/plan_file.h"

namespace aqlm_exp::plan {
namespace {

using config::Node;

/// A string that no YAML reader takes for another type needs no quotes.
bool is_bare(const std::string& text) {
  if (text.empty() || text.size() > 200) return false;
  const char first = text.front();
  const bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '/' || first == '_';
  if (!letter) return false;
  for (char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                       c == '-' || c == '.' || c == '/' || c == '+';
    if (!plain) return false;
  }
  static const char* const kWords[] = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"};
  std::string lower;
  for (char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  for (const char* word : kWords) {
    if (lower == word) return false;
  }
  return true;
}

std::string scalar(const Node& node) {
  if (node.is_string()) {
    return is_bare(node.as_string())
               ? node.as_string()
               : nlohmann::json(node.as_string()).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  if (node.is_float()) {
    const double value = node.as_number();
    if (std::isnan(value)) return ".nan";
    if (std::isinf(value)) return value > 0 ? ".inf" : "-.inf";
    std::string text = fmt::format("{}", value);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
  }
  return config::to_json(node);  // null, true, false, integers: the same in both
}

void write(std::string& out, const Node& node, int indent);

void write_child(std::string& out, const Node& child, int indent) {
  if (child.is_map() && !child.map_value().empty()) {
    out += "\n";
    write(out, child, indent);
  } else if (child.is_list() && !child.items().empty()) {
    out += "\n";
    write(out, child, indent);
  } else if (child.is_map()) {
    out += " {}\n";
  } else if (child.is_list()) {
    out += " []\n";
  } else {
    out += " " + scalar(child) + "\n";
  }
}

void write(std::string& out, const Node& node, int indent) {
  const std::string margin(static_cast<size_t>(indent), ' ');
  if (node.is_map()) {
    for (const config::MapEntry& entry : node.map_value().entries()) {
      out += margin + scalar(Node::string(entry.key)) + ":";
      write_child(out, entry.value, indent + 2);
    }
  } else {
    for (const Node& item : node.items()) {
      out += margin + "-";
      write_child(out, item, indent + 2);
    }
  }
}

}  // namespace

std::string to_yaml(const config::Node& tree) {
  if (tree.is_map() && tree.map_value().empty()) return "{}\n";
  if (tree.is_list() && tree.items().empty()) return "[]\n";
  if (!tree.is_map() && !tree.is_list()) return scalar(tree) + "\n";
  std::string out;
  write(out, tree, 0);
  return out;
}

}  // namespace aqlm_exp::plan
