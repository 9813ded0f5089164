// Defaults lists: which files make up a configuration, in which order, and where each lands
// (design/experiments.md 1.4 and 1.5).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/config_files.h"
#include "framework/config/override_grammar.h"
#include "framework/config/problem.h"

namespace aqlm_exp::config {

/// What a choice names: nothing (null), one option, or several.
struct Option {
  bool is_list = false;
  std::vector<std::string> names;  ///< empty for null; one for a name
  bool is_null() const { return !is_list && names.empty(); }
  std::string str() const;
};

/// One line of a defaults list.
struct DefaultsItem {
  enum class Kind { kSelf, kConfig, kChoice };
  Kind kind = Kind::kSelf;
  std::string path;                    ///< of a config, or the group of a choice; may start with '/'
  std::optional<std::string> package;  ///< as written
  bool optional = false;
  bool override = false;
  bool from_command_line = false;  ///< +group=option
  Option option;
  Mark mark;         ///< of the item or its key
  Mark option_mark;  ///< of the option
};

/// Reads the value under `defaults`. Faults: D105 (shape), D111 (package words), D112 (second _self_).
std::vector<DefaultsItem> read_defaults(const Node& defaults, std::vector<Problem>& problems);

/// Choices that the command line makes.
struct ChoiceOverrides {
  struct Choice {
    Option option;
    Mark mark;
    Mark option_mark;
    std::string text;  ///< the override as typed
    bool used = false;
  };
  struct Deletion {
    std::optional<std::string> option;  ///< only if this one is chosen
    Mark mark;
    std::string text;
    bool used = false;
  };
  std::map<std::string, Choice> choices;  ///< by choice key
  std::vector<DefaultsItem> additions;
  std::map<std::string, Deletion> deletions;  ///< by choice key
};

/// A node of the defaults tree.
struct DefaultsNode {
  enum class State { kUsed, kDeleted, kNull, kAbsent, kMissing, kFailed };  ///< kAbsent: optional and no such file
  DefaultsItem item;
  State state = State::kUsed;
  std::string base_group;   ///< folder of the including file
  std::string package;      ///< final package, "" for the root
  std::string choice_key;   ///< "group" or "group@package"; "" for configs and _self_
  std::string config_path;  ///< "" for the primary file and where there is none
  const ConfigFile* file = nullptr;
  bool self_added = false;  ///< a _self_ that the file does not write
  std::vector<std::unique_ptr<DefaultsNode>> children;
};

/// A file that is merged, in order.
struct DefaultsResult {
  const ConfigFile* file = nullptr;
  std::string package;
  std::string parent;  ///< source of the including file; "" for the primary one
  std::string choice_key;
};

struct Defaults {
  std::unique_ptr<DefaultsNode> tree;
  std::vector<DefaultsResult> results;
  std::map<std::string, Option> choices;  ///< the option in force by choice key
  std::map<std::string, Mark> choice_marks;
};

/// Expands the primary file. `skip_missing`: a `???` choice is left out and is no fault (used when sweeping).
Defaults expand_defaults(ConfigFiles& files, ChoiceOverrides& overrides, bool skip_missing,
                         std::vector<Problem>& problems);

}  // namespace aqlm_exp::config
