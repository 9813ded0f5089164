// Merging trees (design/experiments.md 1.6) and applying value overrides to the merged one (1.7).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/override_grammar.h"
#include "framework/config/problem.h"

namespace aqlm_exp::config {

class ConfigFiles;

/// What a leaf was before something replaced it, oldest first, by dotted path.
using Overwritten = std::map<std::string, std::vector<Node>>;

/// Merges `source` into `target`: maps recursively, lists and scalars replace, `???` is ignored where a value stands.
/// List against map (C101) and map against scalar (C102, "V-TYPE") are faults. `root` is the whole tree, for maps that
/// are merged into a "${reference}".
void merge_into(Node& root, Node& target, const Node& source, const std::string& path, std::vector<Problem>& problems,
                Overwritten* overwritten = nullptr);

/// Merges a file's body at a dotted package.
void merge_at(Node& root, const std::string& package, const Node& body, std::vector<Problem>& problems,
              Overwritten* overwritten = nullptr);

/// Applies one override without sweep. `files` (may be null) lets messages name groups.
void apply_override(Node& root, const Override& override, ConfigFiles* files, std::vector<Problem>& problems,
                    Overwritten* overwritten = nullptr);

/// "a.b" + "c" → "a.b.c".
std::string join_key(const std::string& path, std::string_view key);
std::vector<std::string> split_key(std::string_view key);
/// Keys of a map, in order.
std::vector<std::string> keys_of(const Node& map);

}  // namespace aqlm_exp::config
