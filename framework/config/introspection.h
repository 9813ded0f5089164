// Looking inside a composition: the defaults tree, the merge order, groups, where each value comes from, a component's
// keys (design/experiments.md 1.12).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "framework/config/compose.h"
#include "framework/config/defaults_list.h"
#include "framework/config/schema.h"

namespace aqlm_exp::config {

/// A line of the merge order.
struct MergedFile {
  std::string file;         ///< as in marks
  std::string config_path;  ///< "quantizer/aqlm"; the primary file's own name
  std::string package;      ///< "" is the root, shown as _global_
  std::string included_by;  ///< "" for the primary file
  std::string choice_key;   ///< "" for files that no choice brought in
};

struct GroupListing {
  std::string group;
  std::vector<std::string> options;
};

struct Inspection {
  std::string tree_text;           ///< the defaults tree, indented; `_self_` always shown
  Node tree;                       ///< the same as data
  std::vector<MergedFile> merged;  ///< in order, later ones win
  std::vector<std::string> lints;  ///< W-SELF: a file whose own body meets its groups' keys without saying which wins
};

/// Expands the defaults lists without merging. @throws CompositionError, OverrideSyntaxError
Inspection inspect_defaults(const ComposeRequest& request);

/// Groups and options over all roots; reads directory listings only.
std::vector<GroupListing> list_groups(const ComposeRequest& request);

/// Each leaf on a line: "key: value  # file:line; was 8 at other:3".
std::string origin_text(const Composition& composition, const Node& tree, const std::string& path);
/// [{"key", "value", "origin", "overwritten": [{"value", "origin"}]}]
Node origin_data(const Composition& composition, const Node& tree, const std::string& path);

/// The keys of a part of the schema: type, default, bounds, choices, doc line. `path` is dotted; a variant is named in
/// parts as in "method.aqlm". @throws ConfigError with near misses
std::string describe_component(const Object& schema, std::string_view path);
Node component_data(const Object& schema, std::string_view path);

/// Candidates that continue `word`, an override being typed: groups, options, keys of the schema, their choices.
/// `schema` may be null.
std::vector<std::string> complete_override(std::string_view word, const ComposeRequest& request, const Object* schema);

}  // namespace aqlm_exp::config
