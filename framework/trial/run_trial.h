// One trial: load, quantise, evaluate, time. What it measures becomes a record; publishing it is the caller's part.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "framework/model/model.h"
#include "framework/plan/plan_file.h"
#include "framework/results/record.h"

namespace aqlm_exp::trial {

struct RunOptions {
  /// Where tokens, calibration statistics and reference logits are kept for the other trials of a sweep; empty: not
  /// kept.
  std::filesystem::path cache_dir;
  uint64_t cache_limit_bytes = uint64_t{8} << 30;
  /// Where finished blocks are kept for a later attempt of this trial; empty: not kept.
  std::filesystem::path checkpoint_dir;
  int64_t attempt = 1;
  /// Gets the quantised model, prepared for its backend, once everything has been measured.
  std::function<void(const model::Model& quantised)> on_quantised = {};
};

/// @throws Error of any kind; see plan::worker_exit_for
results::TrialRecord run_trial(const plan::PlannedTrial& trial, const RunOptions& options);

}  // namespace aqlm_exp::trial
