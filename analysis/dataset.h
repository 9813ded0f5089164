// What a report is made from: the planned trials of one or several sweeps, each with its result or the reason why there
// is none. Filled by the driver, which knows about plans; everything in this room works from this alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "framework/results/record.h"

namespace aqlm_exp::analysis {

/// A planned trial and what became of it.
struct TrialRow {
  std::string id = {};  ///< 64 digits
  std::string name = {};
  std::string source = {};  ///< output folder it was found in
  int64_t repeat = 0;
  std::vector<std::string> overrides = {};  ///< swept keys, "quant.nbits=3"
  std::string command = {};                 ///< gives this trial again when typed
  std::string status = {};                  ///< completed, failed, timed_out, oom, cancelled, lost, damaged, planned
  std::string failure_class = {}, message = {};
  int64_t exit_code = -1, signal = 0;
  std::vector<std::string> log_tail = {};
  int64_t attempt = 0;
  double duration_s = 0;
  std::optional<results::TrialRecord> record = {};  ///< of completed trials
  bool completed() const { return record.has_value(); }
};

/// One output folder.
struct Source {
  std::string path = {};
  std::string config_file = {};
  std::string created_utc = {};
  std::string command = {};                                     ///< that made the plan
  std::string build_id = {};                                    ///< of the driver that made the plan
  std::vector<std::pair<std::string, std::string>> files = {};  ///< configuration files: path, SHA-256
  size_t num_trials = 0;
};

struct Dataset {
  std::vector<Source> sources;
  std::vector<TrialRow> rows;                        ///< plan order; a trial that several sources hold stands once
  std::vector<double> budgets = {2.25, 3.25, 4.25};  ///< upper bounds in bits per weight, ascending
  std::vector<std::string> notes;                    ///< what was left out and why
  std::string writer;                                ///< program and version that reports
};

}  // namespace aqlm_exp::analysis
