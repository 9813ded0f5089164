// One trial: load, quantise, evaluate, time. What it measures becomes a record; publishing it is the caller's part.
#pragma once

#include <filesystem>

#include "framework/plan/plan_file.h"
#include "framework/results/record.h"

namespace aqlm_exp::trial {

struct RunOptions {
  /// Where reference logits are kept for the other trials of a sweep; empty: not kept.
  std::filesystem::path cache_dir;
  int64_t attempt = 1;
};

/// @throws Error of any kind; see plan::worker_exit_for
results::TrialRecord run_trial(const plan::PlannedTrial& trial, const RunOptions& options);

}  // namespace aqlm_exp::trial
