// What a report says, before it is written in any format: trials gathered into configurations, configurations into
// groups that may be compared, each group ranked within its bit budgets, with what is really better and what is a tie.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "analysis/dataset.h"
#include "analysis/statistics.h"

namespace aqlm_exp::analysis {

/// A metric of a configuration: of its only trial, or the median over its repeats.
struct Measured {
  double value = results::kAbsent;
  double low = results::kAbsent, high = results::kAbsent;  ///< NaN: no interval is known
  int64_t n = 1;                                           ///< trials behind `value`
};

/// One configuration: the trials that differ in nothing but seed and repeat.
struct Entry {
  std::vector<size_t> trials = {};  ///< indices into Dataset::rows
  std::string key = {};             ///< "g0e3", names the entry's marks and rows in a report
  std::string method = {};          ///< label as stored: "aqlm"
  std::string title = {};           ///< "AQLM 2x7 g8", with what tells it apart from look-alikes
  std::string setting = {}, preset = {};
  std::map<std::string, std::string> params = {};  ///< swept keys
  std::map<std::string, Measured> metrics = {};
  double nominal_bits = results::kAbsent;  ///< codes alone, as papers quote them; NaN where that is not defined
  bool baseline = false;                   ///< the unquantised model
  const Measured* find(const std::string& metric) const;
  double value(const std::string& metric) const;  ///< NaN when it was not taken
};

enum class Verdict {
  kBest,     ///< lowest of its budget
  kTie,      ///< its difference to the best may be chance
  kWorse,    ///< really worse
  kUnknown,  ///< no values per window: cannot be told
};

/// An entry beside the best of its budget.
struct Standing {
  size_t entry = 0;  ///< index into Group::entries
  Verdict verdict = Verdict::kUnknown;
  std::optional<PairedDifference> difference = {};  ///< entry − best, in nats/token
};

struct Budget {
  std::string title = {};                ///< "≤ 2.25 bits"
  double bound = 0;                      ///< infinity above the last bound
  std::string metric = {};               ///< that ranks: "kl", or "ppl" where a member lacks KL
  std::vector<Standing> standings = {};  ///< best first, NaN last
  double confidence = 0.95;              ///< of each interval: 95 % over all of the budget's comparisons (Bonferroni)
  bool has_best() const;                 ///< false when nothing has a number
  std::vector<size_t> ties() const;      ///< entries that cannot be told from the best
  /// The first standing of another method than the best's; its position, or nothing.
  std::optional<size_t> next_method(const std::vector<Entry>& entries) const;
};

/// Entries that may be ranked together: one model, one evaluation, one hardware, one build.
struct Group {
  std::string model = {}, convention = {}, convention_text = {}, hardware = {}, build = {};
  std::string id = {};  ///< "g0"
  std::vector<Entry> entries = {};
  std::optional<size_t> baseline = {};
  std::vector<Budget> budgets = {};  ///< those that have members, ascending
  std::string title() const;         ///< "qwen2-5m"
  std::string subtitle() const;      ///< convention, hardware, build
};

struct MetricInfo {
  std::string name = {}, title = {}, unit = {}, description = {};
  results::Direction direction = results::Direction::kNone;
  bool deterministic = true;
};

struct ModelOptions {
  bool allow_mixed_hardware = false;  ///< one ranking (and one speed picture) for all hardware
  bool allow_mixed_builds = false;
};

struct Report {
  const Dataset* data = nullptr;
  std::vector<Group> groups = {};
  std::vector<MetricInfo> metrics = {};   ///< every metric of any trial: the known ones first, in the order of tables
  std::vector<std::string> params = {};   ///< swept keys that take more than one value, plan order
  std::vector<std::string> methods = {};  ///< that quantise: the five known ones first, then in order of appearance
  std::vector<size_t> failures = {};      ///< rows without a result that are not merely planned
  size_t num_completed = 0, num_planned = 0;
  std::vector<std::string> notes = {};
  const MetricInfo* find_metric(const std::string& name) const;
};

/// @param data must outlive the report
Report build_report(const Dataset& data, const ModelOptions& options = {});

/// One trial's value with the interval that its result file allows: stored, over windows, or the range of its repeats.
Measured measure_trial(const results::TrialRecord& record, const results::Metric& stored);

/// Marks the members of the Pareto front of `y` (lower is better) against `x`; points with NaN are on no front.
std::vector<bool> pareto_front(const std::vector<double>& x, const std::vector<double>& y, bool x_higher_is_better);

/// "nats/token" comparisons stand on samples of this name for a ranking metric: "window_kl", "window_loss".
std::string window_samples_name(const std::string& metric);

}  // namespace aqlm_exp::analysis
