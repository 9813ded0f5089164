// What differs between two sweeps (or two trials), and why: the configuration, the code, the machine, or nothing but
// noise.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/dataset.h"
#include "analysis/paired_windows.h"

namespace aqlm_exp::analysis {

/// A field that differs: key, value in A, value in B; "" where it is absent.
struct FieldChange {
  std::string key = {}, a = {}, b = {};
  bool operator==(const FieldChange&) const = default;
};

/// How a pair of trials differs apart from its numbers.
struct Causes {
  std::vector<FieldChange> config;   ///< keys of the resolved configuration, contents of models and texts, seed
  std::vector<FieldChange> code;     ///< build, commit, compiler, libraries
  std::vector<FieldChange> machine;  ///< host, GPU, threads
  size_t count() const { return (config.empty() ? 0u : 1u) + (code.empty() ? 0u : 1u) + (machine.empty() ? 0u : 1u); }
};

enum class Change {
  kEqual,       ///< the same number, bit for bit
  kNoise,       ///< differs, but no more than chance explains
  kReal,        ///< differs by more than chance explains
  kUnknown,     ///< differs; the results hold nothing to judge by
  kUnexplained  ///< a deterministic number differs although configuration, code and machine are the same
};

struct MetricChange {
  std::string metric = {};
  double a = results::kAbsent, b = results::kAbsent;
  Change change = Change::kEqual;
  std::string why = {};                             ///< "config", "code", "config or machine", "noise: ...", ...
  std::optional<PairedDifference> difference = {};  ///< of perplexity (its loss) and KL
};

struct PairDiff {
  size_t row_a = 0, row_b = 0;
  std::string title = {};
  Causes causes = {};
  std::vector<MetricChange> metrics = {};  ///< those that either trial has
};

struct Diff {
  std::vector<PairDiff> pairs;
  std::vector<size_t> only_a, only_b;  ///< rows without a partner
  std::vector<std::string>
      unfinished;  ///< pairs of which one has no result: "name: completed in A, failed in B (reason)"
};

/// Pairs trials by identity, then by configuration without seed and repeat, then by swept keys; a single trial on both
/// sides is a pair whatever it is.
Diff diff(const Dataset& a, const Dataset& b);

/// @param all also list what is equal
std::string diff_text(const Diff& diff, const Dataset& a, const Dataset& b, size_t width, bool all);
std::string diff_json(const Diff& diff, const Dataset& a, const Dataset& b);

/// "equal", "noise", "real", "unknown", "unexplained"
const char* change_name(Change change);

}  // namespace aqlm_exp::analysis
