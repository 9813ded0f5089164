// Expanding defaults lists. The lists are walked from the last item to the first, so that the last `override` in
// depth-first order is met before the choices it may change; choices that refer to others are expanded at the end.
#include "framework/config/defaults_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

constexpr size_t kMaxDefaultsNodes = 10000;  // lists that include each other twice grow exponentially

std::string join_path(const std::string& base, const std::string& path, char separator) {
  if (base.empty()) return path;
  return path.empty() ? base : base + separator + path;
}

std::string dotted(std::string group) {
  std::replace(group.begin(), group.end(), '/', '.');
  return group;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

bool has_reference(const std::string& text) { return text.find("${") != std::string::npos; }

class Expander {
 public:
  Expander(ConfigFiles& files, ChoiceOverrides& overrides, bool skip_missing, std::vector<Problem>& problems)
      : files_(files), overrides_(overrides), skip_missing_(skip_missing), problems_(problems) {}

  Defaults run() {
    Defaults out;
    auto root = std::make_unique<DefaultsNode>();
    root->item.kind = DefaultsItem::Kind::kConfig;
    root->file = files_.primary(problems_);
    if (root->file == nullptr) {
      root->state = DefaultsNode::State::kFailed;
      out.tree = std::move(root);
      return out;
    }
    root->package = header_package(*root->file).value_or("");
    active_.push_back({"", root->file->source});
    expand_items(*root, /*is_root=*/true);
    active_.pop_back();
    expand_deferred();
    report_unused(*root);
    collect(*root, "", out.results);
    out.choices = std::move(choices_);
    out.choice_marks = std::move(choice_marks_);
    out.tree = std::move(root);
    return out;
  }

 private:
  struct FileOverride {
    Option option;
    Mark mark, option_mark;
    std::string source;  // of the file that holds it
    std::string typed;   // key as written there
    bool used = false;
  };
  struct Deferred {
    DefaultsNode* node;
    std::vector<std::pair<std::string, std::string>> active;  // files being expanded where it stands
  };

  void fault(const char* code, const Mark& mark, std::string path, std::string message, std::string help = {},
             std::string hint = {}, int length = 1) {
    Problem problem{code, mark, std::move(path), std::move(message), std::move(help)};
    problem.hint = std::move(hint);
    problem.length = length;
    problems_.push_back(std::move(problem));
  }

  // --- paths and packages -----------------------------------------------------------------------------------------

  /// Folder in which a choice looks for its options, or in which a config stands.
  static std::string group_of(const DefaultsNode& node) {
    const std::string& path = node.item.path;
    const bool absolute = !path.empty() && path[0] == '/';
    const std::string relative = absolute ? path.substr(1) : path;
    const std::string own = node.item.kind == DefaultsItem::Kind::kChoice ? relative : folder_of(relative);
    return absolute ? own : join_path(node.base_group, own, '/');
  }

  /// The item's own group path, without the including file's.
  static std::string relative_group(const DefaultsNode& node) {
    const std::string& path = node.item.path;
    const std::string relative = !path.empty() && path[0] == '/' ? path.substr(1) : path;
    return node.item.kind == DefaultsItem::Kind::kChoice ? relative : folder_of(relative);
  }

  std::optional<std::string> header_package(const ConfigFile& file) {
    if (!file.package) return std::nullopt;
    const std::string& package = *file.package;
    if (package.find("_group_") != std::string::npos || package.find("_name_") != std::string::npos) {
      if (reported_headers_.insert(file.source).second) {
        fault("D111", file.package_mark, {}, fmt::format("package word in '{}' was removed from Hydra", package),
              "remove the line: the group's own path is the default", {}, 10);
      }
      return std::nullopt;
    }
    if (package == "_global_" || package == "_here_") return std::string();
    return package.rfind("_global_.", 0) == 0 ? package.substr(9) : package;
  }

  /// Where a file lands: package of the item, then of the file's header (absolute), then the group path.
  static std::string final_package(const DefaultsNode& node, const std::string& parent_package,
                                   const std::optional<std::string>& header) {
    std::string package;
    if (node.item.package) {
      package = *node.item.package == "_here_" ? std::string() : *node.item.package;
    } else if (header) {
      return *header;
    } else {
      package = dotted(relative_group(node));
    }
    const std::string full = join_path(parent_package, package, '.');
    const size_t global = full.rfind("_global_");
    if (global == std::string::npos) return full;
    return full.size() > global + 9 ? full.substr(global + 9) : std::string();
  }

  static std::string choice_key_of(const DefaultsNode& node, const std::string& parent_package) {
    const std::string group = group_of(node);
    const std::string package = final_package(node, parent_package, std::nullopt);
    if (package == dotted(group)) return group;
    return group + "@" + (package.empty() ? "_global_" : package);
  }

  // --- walking ----------------------------------------------------------------------------------------------------

  void expand_items(DefaultsNode& node, bool is_root) {
    const ConfigFile& file = *node.file;
    const std::string base_group = is_root ? std::string() : folder_of(file.config_path);
    std::vector<DefaultsItem> items;
    if (file.defaults) items = read_defaults(*file.defaults, problems_for(file));
    const bool has_self = std::any_of(items.begin(), items.end(),
                                      [](const DefaultsItem& item) { return item.kind == DefaultsItem::Kind::kSelf; });
    if (!has_self) items.emplace_back();
    if (is_root) items.insert(items.end(), overrides_.additions.begin(), overrides_.additions.end());

    const DefaultsItem* first_override = nullptr;
    std::vector<std::unique_ptr<DefaultsNode>> children;
    for (DefaultsItem& item : items) {
      auto child = std::make_unique<DefaultsNode>();
      child->base_group = base_group;
      child->self_added = item.kind == DefaultsItem::Kind::kSelf && !has_self;
      child->item = item;
      if (item.kind == DefaultsItem::Kind::kChoice) child->choice_key = choice_key_of(*child, node.package);
      if (item.override) {
        if (first_override == nullptr) first_override = &item;
      } else if (first_override != nullptr && item.kind != DefaultsItem::Kind::kSelf && !item.from_command_line) {
        fault("D110", item.mark, "defaults",
              fmt::format("'{}' stands behind 'override {}'; overrides must be at the end of the defaults list",
                          item.path, first_override->path),
              "move the override to the end of the list",
              fmt::format("the override is at {}", first_override->mark.str()), static_cast<int>(item.path.size()));
      }
      children.push_back(std::move(child));
    }
    for (auto child = children.rbegin(); child != children.rend(); ++child) {
      if ((*child)->item.override) register_override(**child, file);
    }
    children.erase(
        std::remove_if(children.begin(), children.end(), [](const auto& child) { return child->item.override; }),
        children.end());
    node.children = std::move(children);
    for (auto child = node.children.rbegin(); child != node.children.rend(); ++child)
      expand_child(**child, node.package);
  }

  /// Faults of a list are reported once, however often its file is used.
  std::vector<Problem>& problems_for(const ConfigFile& file) {
    dropped_.clear();
    return reported_lists_.insert(file.source).second ? problems_ : dropped_;
  }

  void register_override(const DefaultsNode& child, const ConfigFile& file) {
    if (in_deferred_) {
      fault("D114", child.item.mark, "defaults",
            fmt::format(
                "'override {}' stands in a file that was chosen through a ${{reference}}; all choices are made by then",
                child.item.path),
            "move the override to the file with the reference", {}, static_cast<int>(child.item.path.size()));
      return;
    }
    // Walking backwards, the first one met is the last one written.
    const std::string typed = child.item.path + (child.item.package ? "@" + *child.item.package : std::string());
    file_overrides_.emplace(
        child.choice_key, FileOverride{child.item.option, child.item.mark, child.item.option_mark, file.source, typed});
  }

  void expand_child(DefaultsNode& node, const std::string& parent_package) {
    if (++num_nodes_ > kMaxDefaultsNodes) {
      if (num_nodes_ == kMaxDefaultsNodes + 1) {
        fault("D106", node.item.mark, "defaults",
              fmt::format("the defaults lists expand to more than {} items", kMaxDefaultsNodes),
              "files that include each other several times grow exponentially");
      }
      node.state = DefaultsNode::State::kFailed;
      return;
    }
    node.package = parent_package;
    switch (node.item.kind) {
      case DefaultsItem::Kind::kSelf:
        return;
      case DefaultsItem::Kind::kConfig:
        if (has_reference(node.item.path)) {
          deferred_.push_back({&node, active_});
        } else {
          expand_file(node, parent_package);
        }
        return;
      case DefaultsItem::Kind::kChoice:
        expand_choice(node, parent_package);
        return;
    }
  }

  void expand_choice(DefaultsNode& node, const std::string& parent_package) {
    const std::string& key = node.choice_key;
    Option& option = node.item.option;
    if (const auto chosen = overrides_.choices.find(key); chosen != overrides_.choices.end()) {
      option = chosen->second.option;
      chosen->second.used = true;
      node.item.mark = chosen->second.mark;
      node.item.option_mark = chosen->second.option_mark;
      if (const auto shadowed = file_overrides_.find(key); shadowed != file_overrides_.end())
        shadowed->second.used = true;
    } else if (const auto overridden = file_overrides_.find(key); overridden != file_overrides_.end()) {
      option = overridden->second.option;
      overridden->second.used = true;
      node.item.mark = overridden->second.mark;
      node.item.option_mark = overridden->second.option_mark;
    }
    if (const auto deletion = overrides_.deletions.find(key); deletion != overrides_.deletions.end()) {
      if (!deletion->second.option || *deletion->second.option == option.str()) {
        deletion->second.used = true;
        node.state = DefaultsNode::State::kDeleted;
        return;
      }
    }
    const Mark declared = node.item.mark;
    if (const auto first = choice_marks_.find(key); first != choice_marks_.end()) {
      // Walking backwards: what is in the map stands later in the file.
      fault("D107", first->second, "defaults",
            fmt::format("choice '{}' is declared twice: '{}' at {} and '{}' at {}", key, option.str(), declared.str(),
                        choices_[key].str(), first->second.str()),
            fmt::format("to change the choice write 'override {}: {}'", key, choices_[key].str()), {},
            static_cast<int>(node.item.path.size()));
      node.state = DefaultsNode::State::kFailed;
      return;
    }
    choice_marks_[key] = declared;
    choices_[key] = option;
    keys_of_group_[group_of(node)].insert(key);
    resolve_choice(node, parent_package);
  }

  void resolve_choice(DefaultsNode& node, const std::string& parent_package) {
    Option& option = node.item.option;
    if (option.is_list) {
      for (const std::string& name : option.names) {
        auto child = std::make_unique<DefaultsNode>();
        child->item = node.item;
        child->item.kind = DefaultsItem::Kind::kConfig;
        child->item.path = node.item.path + "/" + name;
        child->item.option = {};
        child->base_group = node.base_group;
        node.children.push_back(std::move(child));
      }
      for (auto child = node.children.rbegin(); child != node.children.rend(); ++child) {
        ++num_nodes_;
        expand_file(**child, parent_package);
      }
      return;
    }
    if (option.is_null()) {
      node.state = DefaultsNode::State::kNull;
    } else if (option.names.front() == "???") {
      node.state = DefaultsNode::State::kMissing;
      if (!skip_missing_) report_missing(node);
    } else if (has_reference(option.names.front())) {
      deferred_.push_back({&node, active_});
    } else {
      expand_file(node, parent_package);
    }
  }

  void expand_file(DefaultsNode& node, const std::string& parent_package) {
    const std::string group = group_of(node);
    const std::string name = node.item.kind == DefaultsItem::Kind::kChoice
                                 ? node.item.option.names.front()
                                 : node.item.path.substr(node.item.path.rfind('/') + 1);
    node.config_path = join_path(group, name, '/');
    if (!is_config_path(node.config_path)) {
      fault("D103", node.item.option_mark, "defaults",
            fmt::format("'{}' is no path of a configuration file", node.config_path),
            "use letters, digits and _ . - only", {}, static_cast<int>(std::max<size_t>(name.size(), 1)));
      node.state = DefaultsNode::State::kFailed;
      return;
    }
    const size_t num_problems = problems_.size();
    node.file = files_.load(node.config_path, problems_);
    if (node.file == nullptr) {
      node.state = node.item.optional ? DefaultsNode::State::kAbsent : DefaultsNode::State::kFailed;
      if (!node.item.optional && problems_.size() == num_problems) report_not_found(node, group, name);
      return;
    }
    const std::string typed =
        node.item.kind == DefaultsItem::Kind::kChoice ? fmt::format("{}={}", node.choice_key, name) : node.item.path;
    files_.sources().set_included_from(node.file->source, node.item.mark, typed);
    for (const auto& [path, source] : active_) {
      if (source != node.file->source) continue;
      report_cycle(node);
      node.state = DefaultsNode::State::kFailed;
      return;
    }
    node.package = final_package(node, parent_package, header_package(*node.file));
    active_.emplace_back(node.config_path, node.file->source);
    expand_items(node, /*is_root=*/false);
    active_.pop_back();
  }

  // --- references between choices ---------------------------------------------------------------------------------

  void expand_deferred() {
    in_deferred_ = true;
    std::vector<Deferred> pending(deferred_.rbegin(), deferred_.rend());  // in written order
    deferred_.clear();
    for (bool progress = true; progress && !pending.empty();) {
      progress = false;
      std::vector<Deferred> rest;
      for (Deferred& item : pending) {
        std::string unknown;
        if (substitute(*item.node, unknown)) {
          progress = true;
          active_ = item.active;
          DefaultsNode& node = *item.node;
          const std::string parent_package = node.package;
          if (node.state == DefaultsNode::State::kUsed) {
            if (node.item.kind == DefaultsItem::Kind::kChoice) {
              choices_[node.choice_key] = node.item.option;
            }
            expand_file(node, parent_package);
          }
        } else {
          rest.push_back(item);
        }
      }
      rest.insert(rest.end(), deferred_.rbegin(), deferred_.rend());
      progress = progress || !deferred_.empty();
      deferred_.clear();
      pending = std::move(rest);
    }
    for (Deferred& item : pending) {
      std::string unknown;
      substitute(*item.node, unknown);
      std::vector<std::string> known;
      for (const auto& [key, option] : choices_) known.push_back(key);
      item.node->state = DefaultsNode::State::kFailed;
      fault("D113", item.node->item.mark, "defaults",
            fmt::format("'{}' refers to choice '{}', which is not in the defaults list", text_of(item.node->item),
                        unknown),
            known.empty() ? std::string("declare the choice first") : "choices are: " + join_names(known),
            did_you_mean(nearest_names(unknown, known)));
    }
    active_.clear();
  }

  static std::string& text_of(DefaultsItem& item) {
    return item.kind == DefaultsItem::Kind::kChoice ? item.option.names.front() : item.path;
  }

  /// Puts chosen options in place of "${group}". Returns false, with the key, when a choice is not known.
  bool substitute(DefaultsNode& node, std::string& unknown) {
    std::string& text = text_of(node.item);
    std::string out;
    for (size_t i = 0; i < text.size();) {
      if (text.compare(i, 2, "${") != 0) {
        out.push_back(text[i++]);
        continue;
      }
      const size_t end = text.find('}', i);
      if (end == std::string::npos) {
        unknown = text.substr(i);
        return false;
      }
      const std::string key = text.substr(i + 2, end - i - 2);
      const auto found = choices_.find(key);
      if (found == choices_.end() || found->second.is_list) {
        unknown = key;
        return false;
      }
      if (found->second.is_null() || found->second.names.front() == "???") {
        if (node.item.optional || found->second.names.size() == 1) {
          node.state = DefaultsNode::State::kAbsent;
          return true;
        }
        unknown = key;
        return false;
      }
      if (&found->second.names.front() == &text || has_reference(found->second.names.front())) {
        unknown = key;
        return false;
      }
      out += found->second.names.front();
      i = end + 1;
    }
    text = out;
    return true;
  }

  // --- messages ---------------------------------------------------------------------------------------------------

  void report_not_found(const DefaultsNode& node, const std::string& group, const std::string& name) {
    if (const auto yml = files_.find_yml(node.config_path)) {
      fault("D102", node.item.option_mark, "defaults", fmt::format("'{}' has the extension .yml, need .yaml", *yml),
            "rename the file");
      return;
    }
    const std::vector<std::string>& options = files_.options(group);
    std::vector<std::string> near = nearest_names(name, options);
    std::string help;
    if (!options.empty()) {
      help = fmt::format("{} has: {}", group.empty() ? "the root" : "group '" + group + "'", join_names(options));
    } else {
      std::vector<std::string> roots;
      for (const auto& root : files_.roots()) roots.push_back(root.empty() ? "." : root.string());
      help = "searched in: " + join_names(roots);
      const std::vector<std::string> groups = files_.groups();
      if (const auto nearest = nearest_names(group, groups); near.empty() && !nearest.empty()) near = nearest;
    }
    const std::string including = active_.empty() ? std::string() : active_.back().second;
    fault("D101", node.item.option_mark, node.choice_key,
          fmt::format("no file '{}.yaml' in any configuration root (wanted by {})", node.config_path, including), help,
          did_you_mean(near), static_cast<int>(std::max<size_t>(name.size(), 1)));
  }

  void report_missing(const DefaultsNode& node) {
    const std::vector<std::string>& options = files_.options(group_of(node));
    fault(
        "D108", node.item.mark, node.choice_key, fmt::format("you must specify '{}'", node.choice_key),
        fmt::format("write {}=OPTION; options: {}", node.choice_key, options.empty() ? "(none)" : join_names(options)),
        {}, static_cast<int>(node.item.path.size()));
  }

  void report_cycle(const DefaultsNode& node) {
    std::string chain;
    bool inside = false;
    for (const auto& [path, source] : active_) {
      inside = inside || source == node.file->source;
      if (inside) chain += source + " -> ";
    }
    fault("D106", node.item.mark, "defaults", "defaults cycle: " + chain + node.file->source,
          "remove this item, or move what both files share into a third one", {},
          static_cast<int>(node.item.path.size()));
  }

  void report_unused(const DefaultsNode& root) {
    for (const auto& [key, item] : file_overrides_) {
      if (item.used) continue;
      std::string hint = known_keys_hint(key);
      fault("D109", item.mark, key,
            item.typed == key ? fmt::format("nothing to override: no choice '{}' earlier in the defaults lists", key)
                              : fmt::format("nothing to override: '{}' means choice '{}' here, and no such choice "
                                            "stands earlier in the defaults lists",
                                            item.typed, key),
            hint.empty() ? "declare the choice without 'override', or add '# @package _global_' and a leading '/'"
                         : "package and group must both match; a file with '# @package _global_' overrides at the root",
            hint, static_cast<int>(item.typed.size()));
    }
    for (const auto& [key, choice] : overrides_.choices) {
      if (choice.used) continue;
      const std::string group = key.substr(0, key.find('@'));
      if (const DefaultsNode* fixed = find_fixed(root, group)) {
        fault("D115", choice.mark, key,
              fmt::format("'{}' is no choice: the entry '{}' is fixed at {}", key, fixed->item.path,
                          fixed->item.mark.str()),
              fmt::format("to make it choosable write '- {}: {}' there", group,
                          fixed->item.path.substr(fixed->item.path.rfind('/') + 1)),
              {}, static_cast<int>(key.size()));
        continue;
      }
      fault("D115", choice.mark, key, fmt::format("no choice '{}' in the defaults lists", key),
            fmt::format("to add it use +{}={}", key, choice.option.str()), known_keys_hint(key),
            static_cast<int>(key.size()));
    }
    for (const auto& [key, deletion] : overrides_.deletions) {
      if (deletion.used) continue;
      const auto chosen = choices_.find(key);
      fault("D116", deletion.mark, key,
            chosen == choices_.end() ? fmt::format("cannot delete: no choice '{}' in the defaults lists", key)
                                     : fmt::format("cannot delete: choice '{}' is '{}' and not '{}'", key,
                                                   chosen->second.str(), *deletion.option),
            chosen == choices_.end() ? std::string() : fmt::format("write ~{}", key),
            chosen == choices_.end() ? known_keys_hint(key) : std::string(), static_cast<int>(key.size()) + 1);
    }
  }

  std::string known_keys_hint(const std::string& key) {
    const std::string group = key.substr(0, key.find('@'));
    if (const auto same = keys_of_group_.find(group); same != keys_of_group_.end()) {
      return did_you_mean({same->second.begin(), same->second.end()});
    }
    std::vector<std::string> known;
    for (const auto& [name, option] : choices_) known.push_back(name);
    return did_you_mean(nearest_names(key, known));
  }

  static const DefaultsNode* find_fixed(const DefaultsNode& node, const std::string& group) {
    for (const auto& child : node.children) {
      if (child->item.kind == DefaultsItem::Kind::kConfig && !child->config_path.empty() &&
          node.item.kind != DefaultsItem::Kind::kChoice && folder_of(child->config_path) == group) {
        return child.get();
      }
      if (const DefaultsNode* found = find_fixed(*child, group)) return found;
    }
    return nullptr;
  }

  // --- results ----------------------------------------------------------------------------------------------------

  static void collect(const DefaultsNode& node, const std::string& parent, std::vector<DefaultsResult>& results) {
    if (node.state != DefaultsNode::State::kUsed) return;
    for (const auto& child : node.children) {
      if (child->item.kind == DefaultsItem::Kind::kSelf) {
        if (node.file != nullptr) results.push_back({node.file, node.package, parent, node.choice_key});
      } else {
        collect(*child, node.file != nullptr ? node.file->source : parent, results);
      }
    }
  }

  ConfigFiles& files_;
  ChoiceOverrides& overrides_;
  bool skip_missing_;
  std::vector<Problem>& problems_;
  std::vector<Problem> dropped_;
  std::set<std::string> reported_lists_, reported_headers_;
  std::vector<std::pair<std::string, std::string>> active_;  // config path and source of each file being expanded
  std::map<std::string, FileOverride> file_overrides_;
  std::map<std::string, Option> choices_;
  std::map<std::string, Mark> choice_marks_;
  std::map<std::string, std::set<std::string>> keys_of_group_;
  std::vector<Deferred> deferred_;
  bool in_deferred_ = false;
  size_t num_nodes_ = 0;
};

}  // namespace

Defaults expand_defaults(ConfigFiles& files, ChoiceOverrides& overrides, bool skip_missing,
                         std::vector<Problem>& problems) {
  return Expander(files, overrides, skip_missing, problems).run();
}

}  // namespace aqlm_exp::config
