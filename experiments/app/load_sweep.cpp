// From a configuration file and overrides to a checked plan; and small things that several commands share.
#include <fmt/format.h>

#include "experiments/app/driver_commands.h"
#include "experiments/app/worker_program.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/plan/scan.h"
#include "framework/results/merge.h"

namespace aqlm_exp::app {

namespace fs = std::filesystem;

LoadedSweep load_sweep(const plan::ConfigRequest& request) {
  const plan::ExpandedConfig expanded = plan::expand_config(request, "builtin:configs/sweep_qwen.yaml");
  LoadedSweep loaded;
  loaded.warnings = expanded.sweep.warnings;
  loaded.settings = expanded.settings;
  loaded.plan = plan::plan_config(request, expanded, trial_schema());
  if (loaded.plan.num_merged > 0) {
    loaded.warnings.push_back(
        fmt::format("{} combination(s) are the same trial as another one and were merged", loaded.plan.num_merged));
  }
  return loaded;
}

plan::Plan open_out(const plan::OutFolder& out) {
  if (!fs::exists(out.plan_file())) {
    throw DataError(
        fmt::format("{}: no sweep here (no sweep.json); need the output folder of `aqlm-exp run`", out.root.string()));
  }
  return plan::load_plan(out.plan_file());
}

const plan::PlannedTrial& find_trial(const plan::Plan& plan, const std::string& text) {
  std::vector<const plan::PlannedTrial*> found;
  for (const plan::PlannedTrial& trial : plan.trials) {
    if (trial.id.rfind(text, 0) == 0 || trial.name == text) found.push_back(&trial);
  }
  if (found.size() == 1) return *found.front();
  throw UsageError(
      fmt::format("trial \"{}\": {} of {} trials have such an id or name; need a unique prefix of an id, "
                  "`aqlm-exp status` lists them",
                  text, found.size(), plan.trials.size()));
}

void merge_out(const plan::OutFolder& out, const plan::Plan& plan) {
  results::MergeRequest request;
  request.results_dir = out.results_dir();
  request.target = out.merged_file();
  request.plan_json = plan::plan_text(plan);
  request.writer = "aqlm-exp " + build_info().version;
  request.created_utc = plan.created_utc;  // of the plan: merging the same results again gives the same bytes
  for (const plan::PlannedTrial& trial : plan.trials) {
    const plan::TrialState state = plan::trial_state(trial, out, plan::Verify::kSizes);
    request.rows.push_back({.id = trial.id,
                            .name = trial.name,
                            .repeat = trial.repeat,
                            .overrides = trial.overrides,
                            .sidecar = state.sidecar});
  }
  const results::MergeReport report = results::merge(request);
  for (const std::string& line : report.unreadable) log_warning("{}", line);
  if (report.was_current) {
    log_debug("{} is up to date", out.merged_file().string());
  } else {
    log_info("{}: {} result(s)", out.merged_file().string(), report.num_copied);
  }
}

}  // namespace aqlm_exp::app
