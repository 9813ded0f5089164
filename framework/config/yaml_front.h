// YAML text → Node tree, over yaml-cpp's event parser. yaml-cpp itself keeps duplicate keys, drops second documents,
// resolves no types and never ends on some inputs (design/experiments.md 1.3); here each of these is a rule.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/problem.h"

namespace aqlm_exp::config {

/// What a file may cost. Raised by command-line flags, never by a configuration.
struct YamlLimits {
  size_t max_bytes = size_t{4} << 20;
  int max_depth = 64;
  size_t max_nodes = 100000;
  size_t max_alias_nodes = 10000;  ///< nodes that come from aliases
  size_t max_growth = 100;         ///< aliases may make the document this many times larger, once past 1,000 nodes
};

struct YamlFile {
  Node root;                           ///< null for an empty file
  std::optional<std::string> package;  ///< of `# @package X`
  Mark package_mark;
};

/// One document. Faults are appended to `problems` (Y1xx) and nothing is returned; `source` names the text in marks.
std::optional<YamlFile> read_yaml(std::string_view text, const std::string& source, const YamlLimits& limits,
                                  std::vector<Problem>& problems);

}  // namespace aqlm_exp::config
