// Exact decimal steps for range(): start + i * step without binary rounding.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/config/node.h"

namespace aqlm_exp::config {

/// start, start + step, ... while before `stop` (after it for a negative step), computed in decimal from the shortest
/// spelling of each argument. Integers if all three are integers, else floats.
/// nullopt: not finite, step 0, or more than 30 decimal digits apart; `fault` says which.
std::optional<std::vector<Node>> decimal_range(const Node& start, const Node& stop, const Node& step, size_t max_values,
                                               std::string& fault);

}  // namespace aqlm_exp::config
