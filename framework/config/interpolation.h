// "${a.b}", "${.sibling}", "${oc.env:NAME,default}": references are resolved after composition and all overrides
// (design/experiments.md 1.9).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/problem.h"

namespace aqlm_exp::config {

struct InterpolationLimits {
  int max_depth = 64;
  size_t max_resolutions = 10000;
  size_t max_string_bytes = size_t{1} << 20;
};

struct InterpolationResult {
  Node tree;
  std::map<std::string, std::string> environment;  ///< names and values that oc.env gave
};

/// Resolves every reference of `tree`. A value that is exactly one reference keeps the target's type (maps and lists
/// are copied); otherwise everything becomes text, spelt as Hydra spells it (True, None, 1e-05). Faults: I1xx. Strings
/// under the dotted keys `raw` stay as they are. Resolving a result again changes nothing.
InterpolationResult resolve_references(const Node& tree, std::vector<Problem>& problems,
                                       const std::vector<std::string>& raw = {},
                                       const InterpolationLimits& limits = {});

}  // namespace aqlm_exp::config
