// What `run` leaves on stdout: the table, or one JSON document.
#pragma once

#include <string>
#include <vector>

#include "framework/plan/execute.h"
#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/scan.h"
#include "framework/plan/settings.h"
#include "framework/results/record.h"

namespace aqlm_exp::app {

/// Reads the published results of a plan. @param unreadable one line a result that fails its check
std::vector<results::TrialRecord> read_records(const plan::Plan& plan, const plan::OutFolder& out,
                                               const plan::Scan& scan, std::vector<std::string>& unreadable);

/// The table for a terminal of that width (0: any).
std::string report_table(const plan::Plan& plan, const plan::OutFolder& out, const plan::Scan& scan,
                         const std::vector<double>& budgets, size_t width, bool bold);

/// {"out", "config", "exit_code", "num_trials", "num_completed", "num_reused", "num_failed", "interrupted", "trials": [
/// {"id", "status", "name", "attempt", "overrides": {key: value}, "labels", "metrics": {name: number or null},
/// "failure"}]}
std::string report_json(const plan::Plan& plan, const plan::OutFolder& out, const plan::Scan& scan,
                        const plan::Outcome& outcome);

}  // namespace aqlm_exp::app
