// `exp.sweep` and the sweep overrides of the command line, as grids to run through (design/experiments.md 1.8).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "framework/config/composer.h"

namespace aqlm_exp::config {

/// One factor of a product: alternatives that are taken one at a time, each setting one key or, for `zip`, several.
struct Dimension {
  std::vector<std::vector<Override>> alternatives;
  bool is_swept = false;  ///< false: a fixed override of the command line
};

/// A product of dimensions, the last varying fastest.
using Grid = std::vector<Dimension>;

/// An entry of exp.sweep.exclude: a point is dropped when every key has its value.
struct Exclusion {
  std::vector<std::pair<std::string, Node>> values;
  Mark mark;
};

struct SweepSpec {
  std::optional<int64_t> seed;
  int64_t repeat = 1;
  std::vector<Grid> grids;
  std::vector<Exclusion> exclusions;
};

/// Reads `exp.sweep` (absent: one grid of the command line alone). The command line replaces entries with the same key
/// and applies to every grid. Faults: W102 (zip lengths), W103 (shape), O1xx in the texts.
SweepSpec read_sweep(const Node& exp, const std::vector<Override>& command_line, Composer& composer,
                     std::vector<Problem>& problems);

}  // namespace aqlm_exp::config
