// Checks a composed tree against a schema and fills in what is absent.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/problem.h"
#include "framework/config/schema.h"

namespace aqlm_exp::config {

/// The tree with every value coerced to its field's type and every fallback filled in; keys in the schema's order.
/// Problems are appended; the result is only meaningful when none were. Unknown keys, `???` and missing required
/// values are problems.
/// Conversions: int from integer text; float from int or number text; nothing else. A null needs a nullable field.
Node check(const Node& tree, const Object& schema, std::vector<Problem>& problems);

/// The coerced tree limited to fields that make up the identity (paths marked as inputs are left out).
Node identity_part(const Node& coerced, const Object& schema);

/// Dotted path and value of every input path of a coerced tree; null and empty ones are left out.
std::vector<std::pair<std::string, std::string>> input_paths(const Node& coerced, const Object& schema);

/// What relative paths are relative to.
struct PathRules {
  std::filesystem::path working_directory;  ///< for values from the command line and fallbacks
  std::filesystem::path builtin_root;       ///< "builtin:x" is builtin_root/x
};

/// Turns every path of a coerced tree into an absolute one: "builtin:x" below the built-in root, a value from a YAML
/// file relative to that file, a value from the command line relative to the working directory. Problems: S107 for a
/// "builtin:" path that leaves its root.
void resolve_paths(Node& coerced, const Object& schema, const PathRules& rules, std::vector<Problem>& problems);

}  // namespace aqlm_exp::config
