#include "framework/config/introspection.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "framework/config/composer.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

std::string shown_package(const std::string& package) { return package.empty() ? "_global_" : package; }

std::string name_of(const DefaultsNode& node, const std::string& primary) {
  switch (node.item.kind) {
    case DefaultsItem::Kind::kSelf:
      return node.self_added ? "_self_ (not written: comes last)" : "_self_";
    case DefaultsItem::Kind::kConfig:
      return node.config_path.empty() ? (node.item.path.empty() ? primary : node.item.path) : node.config_path;
    case DefaultsItem::Kind::kChoice:
      return node.choice_key + ": " + node.item.option.str();
  }
  return {};
}

const char* state_text(DefaultsNode::State state) {
  switch (state) {
    case DefaultsNode::State::kUsed:
      return "";
    case DefaultsNode::State::kDeleted:
      return "deleted";
    case DefaultsNode::State::kNull:
      return "none chosen";
    case DefaultsNode::State::kAbsent:
      return "optional, no such file";
    case DefaultsNode::State::kMissing:
      return "must be chosen";
    case DefaultsNode::State::kFailed:
      return "failed";
  }
  return "";
}

void write_tree(const DefaultsNode& node, const std::string& primary, int depth, std::string& text, Node& data) {
  std::string line(static_cast<size_t>(2 * depth), ' ');
  const std::string name = name_of(node, primary);
  line += name;
  if (node.file != nullptr) line += fmt::format("  -> {}  [{}]", shown_package(node.package), node.file->source);
  if (*state_text(node.state) != '\0') line += fmt::format("  ({})", state_text(node.state));
  text += line + "\n";
  data = Node::map();
  NodeMap& map = data.map_value();
  map.set("item", Node::string(name));
  if (node.item.kind == DefaultsItem::Kind::kChoice) map.set("choice", Node::string(node.choice_key));
  if (node.file != nullptr) {
    map.set("file", Node::string(node.file->source));
    map.set("package", Node::string(shown_package(node.package)));
  }
  if (*state_text(node.state) != '\0') map.set("state", Node::string(state_text(node.state)));
  // A file without a defaults list has only its own body to show.
  const bool only_self = node.children.size() == 1 && node.children.front()->self_added;
  if (node.children.empty() || only_self) return;
  Node::List children;
  for (const auto& child : node.children) {
    children.emplace_back();
    write_tree(*child, primary, depth + 1, text, children.back());
  }
  map.set("children", Node::list(std::move(children)));
}

/// Dotted leaves of a tree.
void leaves_of(const Node& node, const std::string& path, std::vector<std::pair<std::string, const Node*>>& out) {
  if (node.is_map() && !node.map_value().empty()) {
    for (const MapEntry& entry : node.map_value().entries()) leaves_of(entry.value, join_key(path, entry.key), out);
  } else {
    out.emplace_back(path, &node);
  }
}

/// Leaves that files below `node` set.
void leaves_below(const DefaultsNode& node, std::set<std::string>& out) {
  for (const auto& child : node.children) {
    if (child->file != nullptr && child->state == DefaultsNode::State::kUsed) {
      std::vector<std::pair<std::string, const Node*>> leaves;
      leaves_of(child->file->body, child->package, leaves);
      for (const auto& [path, leaf] : leaves) out.insert(path);
    }
    leaves_below(*child, out);
  }
}

void find_self_lints(const DefaultsNode& node, std::vector<std::string>& out) {
  const bool self_added =
      std::any_of(node.children.begin(), node.children.end(), [](const auto& c) { return c->self_added; });
  if (self_added && node.file != nullptr && node.children.size() > 1) {
    std::set<std::string> below;
    leaves_below(node, below);
    std::vector<std::pair<std::string, const Node*>> own;
    leaves_of(node.file->body, node.package, own);
    std::vector<std::string> both;
    for (const auto& [path, leaf] : own) {
      if (below.count(path) != 0) both.push_back(path);
    }
    if (!both.empty()) {
      out.push_back(
          fmt::format("{}: warning[W-SELF]: the file and its groups both set {}; the file wins because '_self_' is not "
                      "written and counts as last; write '- _self_' where it belongs",
                      node.file->defaults_mark.str(), join_names(both, 5)));
    }
  }
  for (const auto& child : node.children) find_self_lints(*child, out);
}

std::string origin_of(const Node& node) { return node.mark().source.empty() ? "default" : node.mark().str(); }

}  // namespace

Inspection inspect_defaults(const ComposeRequest& request) {
  Composer composer(request);
  std::vector<Problem> problems;
  const std::vector<Override> parsed = parse_overrides(request.overrides, composer.files().sources(), problems);
  std::vector<ReadyOverride> ready;
  for (const Override& override : parsed) {
    ValueContext context;
    context.syntax_only = true;
    if (auto value = composer.evaluate(override, context, problems)) ready.push_back(std::move(*value));
  }
  if (!problems.empty()) {
    composer.finish(problems);
    throw OverrideSyntaxError(std::move(problems));
  }
  std::vector<const Override*> overrides;
  for (const ReadyOverride& item : ready) overrides.push_back(&item.override);
  const Defaults& defaults = composer.defaults(overrides, /*skip_missing=*/true, problems);
  if (!problems.empty()) {
    composer.finish(problems);
    throw CompositionError(std::move(problems));
  }
  Inspection out;
  const std::string primary = composer.files().primary_name();
  write_tree(*defaults.tree, primary, 0, out.tree_text, out.tree);
  for (const DefaultsResult& result : defaults.results) {
    out.merged.push_back({result.file->source, result.file->config_path.empty() ? primary : result.file->config_path,
                          result.package, result.parent, result.choice_key});
  }
  find_self_lints(*defaults.tree, out.lints);
  return out;
}

std::vector<GroupListing> list_groups(const ComposeRequest& request) {
  ConfigFiles files(request.file, request.roots, request.limits);
  std::vector<GroupListing> out;
  for (const std::string& group : files.groups()) out.push_back({group, files.options(group)});
  return out;
}

std::string origin_text(const Composition& composition, const Node& tree, const std::string& path) {
  std::vector<std::pair<std::string, const Node*>> leaves;
  leaves_of(tree, path, leaves);
  std::string out;
  for (const auto& [key, leaf] : leaves) {
    out += fmt::format("{}: {}  # {}", key, to_json(*leaf), origin_of(*leaf));
    if (const auto before = composition.overwritten.find(key); before != composition.overwritten.end()) {
      for (auto item = before->second.rbegin(); item != before->second.rend(); ++item) {
        out += fmt::format("; was {} at {}", to_json(*item), origin_of(*item));
      }
    }
    out += "\n";
  }
  return out;
}

Node origin_data(const Composition& composition, const Node& tree, const std::string& path) {
  std::vector<std::pair<std::string, const Node*>> leaves;
  leaves_of(tree, path, leaves);
  Node::List out;
  for (const auto& [key, leaf] : leaves) {
    Node item = Node::map();
    item.map_value().set("key", Node::string(key));
    item.map_value().set("value", *leaf);
    item.map_value().set("origin", Node::string(origin_of(*leaf)));
    Node::List earlier;
    if (const auto before = composition.overwritten.find(key); before != composition.overwritten.end()) {
      for (const Node& value : before->second) {
        Node old = Node::map();
        old.map_value().set("value", value);
        old.map_value().set("origin", Node::string(origin_of(value)));
        earlier.push_back(std::move(old));
      }
    }
    item.map_value().set("overwritten", Node::list(std::move(earlier)));
    out.push_back(std::move(item));
  }
  return Node::list(std::move(out));
}

}  // namespace aqlm_exp::config
