// Value overrides: key=v, +key=v, ++key=v, ~key on the merged, closed tree.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "framework/config/config_files.h"
#include "framework/config/merge.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

constexpr size_t kMaxSearchedLeaves = 20000;

std::optional<size_t> list_index(const std::string& part) {
  if (part.empty() || part.size() > 9 || part.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::stoul(part);
}

Node* step(Node& node, const std::string& part) {
  if (node.is_map()) return node.map_value().find(part);
  if (node.is_list()) {
    const auto index = list_index(part);
    if (index && *index < node.items().size()) return &node.items()[*index];
  }
  return nullptr;
}

/// Dotted paths whose last part is `leaf`.
void find_leaf(const Node& node, const std::string& path, const std::string& leaf, size_t& budget,
               std::vector<std::string>& out) {
  if (!node.is_map()) return;
  for (const MapEntry& entry : node.map_value().entries()) {
    if (budget == 0 || out.size() >= 3) return;
    --budget;
    const std::string full = join_key(path, entry.key);
    if (entry.key == leaf) out.push_back(full);
    find_leaf(entry.value, full, leaf, budget, out);
  }
}

class Application {
 public:
  Application(Node& root, const Override& override, ConfigFiles* files, std::vector<Problem>& problems,
              Overwritten* overwritten)
      : root_(root),
        override_(override),
        files_(files),
        problems_(problems),
        overwritten_(overwritten),
        parts_(split_key(override.key)) {}

  void run() {
    if (override_.package || override_.key.find('/') != std::string::npos) {
      no_such_group();
      return;
    }
    if (override_.kind == Override::Kind::kDelete) {
      remove();
      return;
    }
    // The reserved node takes settings that no file mentions; its own reader refuses unknown ones.
    const bool may_add = override_.kind != Override::Kind::kSet || (parts_.front() == "exp" && parts_.size() > 1);
    Node value = node_of(override_.elements.front());
    Node* parent = find_parent(may_add);
    if (parent != nullptr) set(*parent, std::move(value), may_add);
  }

 private:
  Mark key_mark(size_t part) const {
    int offset = override_.kind == Override::Kind::kForce ? 2 : override_.kind == Override::Kind::kSet ? 0 : 1;
    for (size_t i = 0; i < part; ++i) offset += static_cast<int>(parts_[i].size()) + 1;
    return {override_.mark.source, override_.mark.line, override_.mark.column + offset};
  }

  void fault(const char* code, size_t part, std::string message, std::string help, std::string hint = {}) {
    Problem problem{code, key_mark(part), override_.key, std::move(message), std::move(help)};
    problem.hint = std::move(hint);
    problem.length = static_cast<int>(parts_[part].size());
    problems_.push_back(std::move(problem));
  }

  std::string path_to(size_t part) const {
    std::string path;
    for (size_t i = 0; i <= part; ++i) path = join_key(path, parts_[i]);
    return path;
  }

  std::string value_text() const {
    const size_t equals = override_.text.find('=');
    return equals == std::string::npos ? std::string() : override_.text.substr(equals);
  }

  void no_such_group() {
    const std::string group = override_.key;
    std::string hint, help = "a key is written with dots: ";
    std::string dotted = group;
    std::replace(dotted.begin(), dotted.end(), '/', '.');
    help += dotted + value_text();
    std::vector<std::string> groups;
    if (files_ != nullptr) groups = files_->groups();
    hint = did_you_mean(nearest_names(group, groups));
    if (!groups.empty()) help = "groups are: " + join_names(groups);
    if (root_.at(dotted) != nullptr && !override_.package) hint = did_you_mean({dotted});
    Problem problem{"D118", override_.mark, group, fmt::format("no group '{}' in any configuration root", group), help};
    problem.hint = hint;
    problem.length = static_cast<int>(override_.key_text().size());
    problems_.push_back(std::move(problem));
  }

  /// Container of the last part; with `may_add`, maps are made on the way. nullptr: reported.
  Node* find_parent(bool may_add) {
    Node* node = &root_;
    for (size_t i = 0; i + 1 < parts_.size(); ++i) {
      Node* next = step(*node, parts_[i]);
      if (next == nullptr) {
        if (!may_add || !node->is_map()) {
          unknown_key(*node, i);
          return nullptr;
        }
        next = &node->map_value().set(parts_[i], Node::map(override_.mark), override_.mark);
      } else if (!next->is_map() && !next->is_list()) {
        const bool empty = next->is_null() || next->is_missing();
        if (!may_add) {
          unknown_key(*next, i + 1);
          return nullptr;
        }
        if (!empty && override_.kind != Override::Kind::kForce) {
          fault("C103", i,
                fmt::format("'{}' is a {} at {}, which has no keys", path_to(i), kind_name(next->kind()),
                            next->mark().str()),
                fmt::format("to replace it by a map use ++{}{}", override_.key, value_text()));
          return nullptr;
        }
        if (overwritten_ != nullptr) (*overwritten_)[path_to(i)].push_back(*next);
        *next = Node::map(override_.mark);
      }
      node = next;
    }
    return node;
  }

  void set(Node& parent, Node value, bool may_add) {
    const size_t last = parts_.size() - 1;
    Node* existing = step(parent, parts_[last]);
    if (existing == nullptr) {
      if (!may_add || !parent.is_map()) {
        unknown_key(parent, last);
        return;
      }
      parent.map_value().set(parts_[last], std::move(value), override_.mark);
      return;
    }
    const bool force = override_.kind == Override::Kind::kForce;
    const bool empty = existing->is_null() || existing->is_missing();
    if (override_.kind == Override::Kind::kAdd && !empty && !value.is_map() && !value.is_list()) {
      fault("C103", last,
            fmt::format("'{}' exists already: {} at {}", override_.key, shown(*existing), existing->mark().str()),
            fmt::format("to change it use {0}{1}, to set it in any case ++{0}{1}", override_.key, value_text()));
      return;
    }
    if (value.is_map() && existing->is_map()) {
      merge_map(*existing, value, override_.key, may_add);
      return;
    }
    const bool reference = existing->is_string() && existing->as_string().find("${") != std::string::npos;
    const bool new_reference = value.is_string() && value.as_string().find("${") != std::string::npos;
    if (!force && !empty && !value.is_null() && !reference && !new_reference) {
      if ((value.is_map() && existing->is_list()) || (value.is_list() && existing->is_map())) {
        fault("C101", last,
              fmt::format("cannot merge a {} into '{}', which is a {} at {}", kind_name(value.kind()), override_.key,
                          kind_name(existing->kind()), existing->mark().str()),
              fmt::format("to replace it use ++{}{}", override_.key, value_text()));
        return;
      }
      if (value.is_map() != existing->is_map()) {
        fault("C102", last,
              fmt::format("'{}' is a {} at {}, got a {}", override_.key, kind_name(existing->kind()),
                          existing->mark().str(), kind_name(value.kind())),
              existing->is_map() ? fmt::format("set one of its keys, {}.KEY=VALUE; to replace it use ++{}{}",
                                               override_.key, override_.key, value_text())
                                 : fmt::format("to replace it use ++{}{}", override_.key, value_text()));
        return;
      }
    }
    record(override_.key, *existing);
    *existing = std::move(value);
    if (parent.is_map()) parent.map_value().set_key_mark(parts_[last], override_.mark);
  }

  void merge_map(Node& target, const Node& value, const std::string& path, bool may_add) {
    for (const MapEntry& entry : value.map_value().entries()) {
      const std::string full = join_key(path, entry.key);
      Node* existing = target.map_value().find(entry.key);
      if (existing == nullptr) {
        if (!may_add) {
          Problem problem{"C104", entry.key_mark, full, fmt::format("unknown key '{}'", full),
                          fmt::format("to add a new key use +{}={}", full, print_element(element_of(entry.value)))};
          problem.hint = did_you_mean(nearest_names(entry.key, keys_of(target)));
          problems_.push_back(std::move(problem));
          continue;
        }
        target.map_value().set(entry.key, entry.value, entry.key_mark);
      } else if (existing->is_map() && entry.value.is_map()) {
        merge_map(*existing, entry.value, full, may_add);
      } else if (override_.kind == Override::Kind::kForce) {
        record(full, *existing);
        *existing = entry.value;
      } else {
        merge_into(root_, *existing, entry.value, full, problems_, overwritten_);
      }
    }
  }

  void record(const std::string& path, const Node& before) {
    if (overwritten_ != nullptr) (*overwritten_)[path].push_back(before);
  }

  static std::string shown(const Node& node) {
    std::string text = to_json(node);
    if (text.size() > 60) text = text.substr(0, 57) + "...";
    return text;
  }

  void remove() {
    Node* node = &root_;
    for (size_t i = 0; i + 1 < parts_.size(); ++i) {
      Node* next = step(*node, parts_[i]);
      if (next == nullptr) {
        cannot_delete(*node, i);
        return;
      }
      node = next;
    }
    const size_t last = parts_.size() - 1;
    Node* existing = step(*node, parts_[last]);
    if (existing == nullptr) {
      cannot_delete(*node, last);
      return;
    }
    if (override_.has_value) {
      const Node wanted = node_of(override_.elements.front());
      const bool both_numbers = (wanted.is_int() || wanted.is_float()) && (existing->is_int() || existing->is_float());
      const bool same = both_numbers ? wanted.as_number() == existing->as_number() : same_data(wanted, *existing);
      if (!wanted.is_null() && !same) {
        fault("C106", last,
              fmt::format("cannot delete '{}': its value is {} and not {}", override_.key, shown(*existing),
                          shown(wanted)),
              fmt::format("to delete it whatever it is use ~{}", override_.key),
              fmt::format("set at {}", existing->mark().str()));
        return;
      }
    }
    record(override_.key, *existing);
    if (node->is_map()) {
      node->map_value().erase(parts_[last]);
    } else {
      node->items().erase(node->items().begin() + static_cast<std::ptrdiff_t>(*list_index(parts_[last])));
    }
  }

  void cannot_delete(const Node& container, size_t part) {
    fault("C105", part, fmt::format("cannot delete '{}': no such key", path_to(part)),
          container.is_map() && !container.map_value().empty() ? "keys here: " + join_names(keys_of(container))
                                                               : std::string(),
          did_you_mean(nearest_names(parts_[part], keys_of(container))));
  }

  void unknown_key(const Node& container, size_t part) {
    const std::string path = path_to(part);
    if (container.is_list()) {
      fault(
          "C107", part,
          fmt::format("'{}' is a list of {} elements at {}, '{}' is no index of it", part == 0 ? "" : path_to(part - 1),
                      container.items().size(), container.mark().str(), parts_[part]),
          "to change the length give the whole list: key=[a,b]");
      return;
    }
    if (!container.is_map()) {
      fault("C104", part,
            fmt::format("unknown key '{}': '{}' is a {} at {}", path, path_to(part - 1), kind_name(container.kind()),
                        container.mark().str()),
            fmt::format("to replace it by a map use ++{}{}", override_.key, value_text()));
      return;
    }
    std::vector<std::string> near = nearest_names(parts_[part], keys_of(container));
    std::string hint = did_you_mean(near);
    const std::string& leaf = parts_.back();
    std::vector<std::string> elsewhere;
    size_t budget = kMaxSearchedLeaves;
    find_leaf(root_, "", leaf, budget, elsewhere);
    if (near.empty() && !elsewhere.empty()) hint = fmt::format("'{}' exists at {}", leaf, join_names(elsewhere));
    std::string help = fmt::format("to add a new key use +{}{}", override_.key, value_text());
    if (files_ != nullptr) {
      std::string group = override_.key;
      std::replace(group.begin(), group.end(), '.', '/');
      if (group != override_.key && files_->group_exists(group)) {
        hint = fmt::format("'{}' is a group", group);
        help = fmt::format("groups are written with '/': {}{}", group, value_text());
      } else if (near.empty() && elsewhere.empty() && parts_.size() == 1) {
        hint = did_you_mean(nearest_names(override_.key, files_->groups()));
      }
    }
    fault("C104", part, fmt::format("unknown key '{}'", path), help, hint);
  }

  Node& root_;
  const Override& override_;
  ConfigFiles* files_;
  std::vector<Problem>& problems_;
  Overwritten* overwritten_;
  std::vector<std::string> parts_;
};

}  // namespace

void apply_override(Node& root, const Override& override, ConfigFiles* files, std::vector<Problem>& problems,
                    Overwritten* overwritten) {
  Application(root, override, files, problems, overwritten).run();
}

}  // namespace aqlm_exp::config
