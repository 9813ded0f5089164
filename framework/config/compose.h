// Hydra-like composition: defaults lists, groups, overrides and sweeps become plain trees.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/config/check.h"
#include "framework/config/node.h"

namespace aqlm_exp::config {

struct ComposeRequest {
  std::filesystem::path file;                ///< primary file; its folder is the first root
  std::vector<std::string> overrides;        ///< as typed: "quant.nbits=3", "+a=1", "method=rtn,gptq", ...
  std::vector<std::filesystem::path> roots;  ///< further roots, in search order (--config-dir, then the built-in one)
};

/// Thrown when a configuration cannot be composed: all independent faults found, at most 20.
class CompositionError : public ConfigError {
 public:
  CompositionError(std::vector<Problem> problems, const std::string& message)
      : ConfigError(message), problems_(std::move(problems)) {}
  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

struct Composition {
  Node tree;                       ///< what components see: composed, overridden, interpolations resolved, `exp` removed
  Node exp;                        ///< the reserved node: sweep, output, launcher
  std::vector<std::string> files;  ///< every file read, in order
};

/// One tree. @throws CompositionError, also when an override holds a sweep; UsageError for override syntax.
Composition compose(const ComposeRequest& request);

struct SweepPoint {
  std::vector<std::string> overrides;  ///< the swept keys of this point, "quant.nbits=3", in declaration order
  int64_t repeat = 0;                  ///< repeat index (exp.sweep.repeat)
  Node tree;
};

struct Sweep {
  Node exp;
  std::vector<SweepPoint> points;  ///< product in declaration order, last varies fastest; then unions
  int64_t num_merged = 0;          ///< combinations dropped because an earlier one composed to the same tree
  std::vector<std::string> files;
};

/// Every point of `exp.sweep` and of sweep overrides; one point when there is no sweep.
Sweep expand_sweep(const ComposeRequest& request);

}  // namespace aqlm_exp::config
