// What the values of an override mean: "a,b", choice(), range(), glob(), sort(), shuffle() and casts
// (design/experiments.md 1.8).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "framework/config/override_grammar.h"
#include "framework/config/problem.h"

namespace aqlm_exp::config {

struct ValueContext {
  bool syntax_only = false;  ///< seed and groups are not known yet: shuffle() keeps the order, glob() gives its pattern
  std::optional<int64_t> seed;                              ///< exp.sweep.seed, for shuffle() without seed=
  std::function<std::vector<std::string>()> group_options;  ///< of the override's group; empty when the key is no group
};

struct ValueList {
  bool is_sweep = false;
  std::vector<Element> values;  ///< without calls; one unless is_sweep
};

/// Computes the values of an override. Faults: O102 (unknown function), O103 (arguments), W104, W105, W106, W108.
std::optional<ValueList> evaluate_values(const std::vector<Element>& elements, const ValueContext& context,
                                         std::vector<Problem>& problems);

/// True when `name` matches the glob `pattern` (`*`, `?`, `[a-z]`, `[!a]`).
bool matches_glob(const std::string& name, const std::string& pattern);

}  // namespace aqlm_exp::config
