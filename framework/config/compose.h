// Hydra-like composition: defaults lists, groups, overrides and sweeps become plain trees.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "framework/config/check.h"
#include "framework/config/merge.h"
#include "framework/config/node.h"
#include "framework/config/problem.h"
#include "framework/config/yaml_front.h"

namespace aqlm_exp::config {

struct ComposeRequest {
  std::filesystem::path file;                ///< primary file; its folder is the first root
  std::vector<std::string> overrides;        ///< as typed: "quant.nbits=3", "+a=1", "method=rtn,gptq", ...
  std::vector<std::filesystem::path> roots;  ///< further roots, in search order (--config-dir, then the built-in one)
  bool resolve = true;                       ///< false: references stay as they are written
  bool record_overwritten = false;           ///< fill in Composition::overwritten
  size_t max_trials = 10000;                 ///< larger sweeps are refused (--max-trials)
  YamlLimits limits = {};
};

/// A file that was read, so that a plan can tell whether it changed.
struct FileRecord {
  std::string source;  ///< as in marks
  std::string sha256;
};

struct Composition {
  Node tree;  ///< what components see: composed, overridden, interpolations resolved, `exp` removed
  Node exp;   ///< the reserved node: sweep, output, launcher; a map
  std::vector<std::string> files;  ///< every file read, in order
  std::vector<FileRecord> file_records;
  std::map<std::string, std::string>
      choices;  ///< option by choice key: "model" → "qwen", "quantizer@student" → "[a,b]"
  std::map<std::string, std::string> environment;  ///< variables that oc.env read
  Overwritten overwritten;                         ///< earlier values by dotted key
  std::shared_ptr<const Sources> sources;          ///< texts, for Sources::attach on problems of check()
};

/// One tree. @throws CompositionError, also when an override holds a sweep; OverrideSyntaxError (a UsageError) for
/// override syntax. Both carry every independent fault found.
Composition compose(const ComposeRequest& request);

struct SweepPoint {
  std::vector<std::string> overrides;  ///< the swept keys of this point, "quant.nbits=3", in declaration order
  std::vector<std::string>
      all_overrides;   ///< these and the fixed ones of the command line: give the same tree when typed
  int64_t repeat = 0;  ///< repeat index (exp.sweep.repeat)
  Node tree;
  std::map<std::string, std::string> choices;
  std::vector<Problem> problems;  ///< only with keep_failing_points
};

struct Sweep {
  Node exp;
  std::vector<SweepPoint> points;  ///< product in declaration order, last varies fastest; then unions
  int64_t num_combinations = 0;    ///< before exclusion and merging, repeats not counted
  int64_t num_excluded = 0;        ///< combinations dropped by exp.sweep.exclude
  int64_t num_merged = 0;          ///< combinations dropped because an earlier one composed to the same tree
  std::vector<std::string> files;
  std::vector<FileRecord> file_records;
  std::map<std::string, std::string> environment;
  std::vector<std::string> warnings;  ///< "exp.sweep.exclude[0] matches no combination"
  std::shared_ptr<const Sources> sources;
};

/// Every point of `exp.sweep` and of sweep overrides; one point when there is no sweep.
/// `keep_failing_points`: points that do not compose are kept with their problems in place of throwing.
Sweep expand_sweep(const ComposeRequest& request, bool keep_failing_points = false);

}  // namespace aqlm_exp::config
