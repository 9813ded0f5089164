// Checks a composed tree against a schema and fills in what is absent.
#pragma once

#include <string>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/schema.h"

namespace aqlm_exp::config {

/// One independent fault of a configuration.
struct Problem {
  std::string code;     ///< "S101"
  Mark mark;            ///< where
  std::string path;     ///< dotted key
  std::string message;  ///< one sentence: what we got, what we need
  std::string help;     ///< one way out; may be empty
};

/// The tree with every value coerced to its field's type and every fallback filled in; keys in the schema's order.
/// Problems are appended; the result is only meaningful when none were. Unknown keys, `???` and missing required
/// values are problems.
Node check(const Node& tree, const Object& schema, std::vector<Problem>& problems);

/// The coerced tree limited to fields that make up the identity (paths marked as inputs are left out).
Node identity_part(const Node& coerced, const Object& schema);

/// Dotted path and value of every input path of a coerced tree.
std::vector<std::pair<std::string, std::string>> input_paths(const Node& coerced, const Object& schema);

}  // namespace aqlm_exp::config
