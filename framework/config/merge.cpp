#include "framework/config/merge.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace aqlm_exp::config {
namespace {

bool is_reference(const Node& node) {
  return node.is_string() && !node.is_final() && node.as_string().find("${") != std::string::npos;
}

/// A map or list that "${a.b}" names in the tree as it stands, or nullptr: then the text is simply replaced.
const Node* simple_target(const Node& root, const Node& reference) {
  const std::string& text = reference.as_string();
  if (text.size() < 4 || text.compare(0, 2, "${") != 0 || text.back() != '}' || text[2] == '.') return nullptr;
  const std::string key = text.substr(2, text.size() - 3);
  if (key.find_first_of("${}:[]") != std::string::npos) return nullptr;
  const Node* target = root.at(key);
  return target != nullptr && target->is_map() ? target : nullptr;
}

}  // namespace

std::string join_key(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

std::vector<std::string> split_key(std::string_view key) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t dot = key.find('.');
    parts.emplace_back(key.substr(0, dot));
    if (dot == std::string_view::npos) return parts;
    key.remove_prefix(dot + 1);
  }
}

std::vector<std::string> keys_of(const Node& map) {
  std::vector<std::string> keys;
  if (!map.is_map()) return keys;
  for (const MapEntry& entry : map.map_value().entries()) keys.push_back(entry.key);
  return keys;
}

void merge_into(Node& root, Node& target, const Node& source, const std::string& path, std::vector<Problem>& problems,
                Overwritten* overwritten) {
  if (source.is_missing()) return;
  if (source.is_map() && is_reference(target)) {
    if (const Node* named = simple_target(root, target)) {
      Node copy = *named;
      target = std::move(copy);
    }
  }
  if (target.is_map() && source.is_map()) {
    for (const MapEntry& entry : source.map_value().entries()) {
      Node* existing = target.map_value().find(entry.key);
      if (existing == nullptr) {
        target.map_value().set(entry.key, entry.value, entry.key_mark);
        continue;
      }
      merge_into(root, *existing, entry.value, join_key(path, entry.key), problems, overwritten);
      existing = target.map_value().find(entry.key);
      if (!existing->is_map() && !entry.value.is_missing()) target.map_value().set_key_mark(entry.key, entry.key_mark);
    }
    return;
  }
  if ((target.is_list() && source.is_map()) || (target.is_map() && source.is_list())) {
    problems.push_back({"C101", source.mark(), path,
                        fmt::format("cannot merge a {} into a {} at '{}', which is at {}", kind_name(source.kind()),
                                    kind_name(target.kind()), path, target.mark().str()),
                        "make both the same kind, or set the key to null first"});
    return;
  }
  const bool plain_target = !target.is_null() && !target.is_missing() && !is_reference(target);
  const bool plain_source = !source.is_null() && !is_reference(source);
  if (target.is_map() != source.is_map() && plain_target && plain_source) {
    problems.push_back({"C102", source.mark(), path,
                        fmt::format("'{}' is a {} here and a {} at {}", path, kind_name(source.kind()),
                                    kind_name(target.kind()), target.mark().str()),
                        "make both the same kind, or set the key to null first"});
    return;
  }
  if (overwritten != nullptr) (*overwritten)[path].push_back(target);
  target = source;
}

void merge_at(Node& root, const std::string& package, const Node& body, std::vector<Problem>& problems,
              Overwritten* overwritten) {
  Node* target = &root;
  std::string path;
  if (!package.empty()) {
    for (const std::string& part : split_key(package)) {
      path = join_key(path, part);
      Node* next = target->map_value().find(part);
      if (next == nullptr) {
        next = &target->map_value().set(part, Node::map(body.mark()), body.mark());
      } else if (next->is_null() || next->is_missing()) {
        *next = Node::map(body.mark());
      } else if (is_reference(*next)) {
        const Node* named = simple_target(root, *next);
        Node copy = named == nullptr ? Node::map(body.mark()) : *named;
        *next = std::move(copy);
      } else if (!next->is_map()) {
        problems.push_back({next->is_list() ? "C101" : "C102", body.mark(), path,
                            fmt::format("the file lands at '{}', but '{}' is a {} at {}", package, path,
                                        kind_name(next->kind()), next->mark().str()),
                            "choose another package for the file"});
        return;
      }
      target = next;
    }
  }
  merge_into(root, *target, body, path, problems, overwritten);
}

}  // namespace aqlm_exp::config
