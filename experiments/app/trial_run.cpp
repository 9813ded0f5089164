// `aqlm-exp-trial run` and `describe`: the driver's side of the worker.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "experiments/app/trial_commands.h"
#include "framework/base/log.h"
#include "framework/plan/build_plan.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/worker_protocol.h"
#include "framework/results/publish.h"
#include "framework/trial/run_trial.h"
#include "framework/trial/sweep_cache.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::app {
namespace {

struct RunArguments {
  std::string plan, id, attempt_dir;
};

/// trials/<id16>/attempt-3 → 3; 1 for other names.
int64_t attempt_of(const std::filesystem::path& attempt_dir) {
  const std::string name = attempt_dir.filename().string();
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos || name.find_first_not_of("0123456789", dash + 1) != std::string::npos) return 1;
  return dash + 1 < name.size() && name.size() - dash < 10 ? std::stol(name.substr(dash + 1)) : 1;
}

int run(const RunArguments& arguments) {
  const std::filesystem::path out = std::filesystem::path(arguments.plan).parent_path();
  try {
    const plan::Heartbeat heartbeat(arguments.attempt_dir);
    const plan::PlannedTrial trial = plan::load_trial(arguments.plan, arguments.id);
    plan::check_inputs(trial);
    log_info("{}", trial.name);
    const std::filesystem::path checkpoints = std::filesystem::path(arguments.attempt_dir).parent_path() / "checkpoint";
    const results::TrialRecord record = trial::run_trial(trial, {.cache_dir = out / "cache",
                                                                 .cache_limit_bytes = trial::cache_limit_bytes(),
                                                                 .checkpoint_dir = checkpoints,
                                                                 .attempt = attempt_of(arguments.attempt_dir)});
    plan::check_inputs(trial);  // what was read must be what the plan meant, also at the end
    results::publish(record, out / "results");
    std::error_code ignored;
    std::filesystem::remove_all(checkpoints, ignored);
    return static_cast<int>(plan::WorkerExit::kOk);
  } catch (const std::exception& e) {
    const plan::WorkerExit code = plan::worker_exit_for(e);
    log_error("{}", e.what());
    plan::write_failure_note(arguments.attempt_dir, code, e.what());
    return static_cast<int>(code);
  }
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("run", "run one trial of a plan and publish its result");
  auto arguments = std::make_shared<RunArguments>();
  command->add_option("--plan", arguments->plan, "OUT/sweep.json")->required();
  command->add_option("--id", arguments->id, "trial: 64 digits or a unique prefix")->required();
  command->add_option("--attempt-dir", arguments->attempt_dir, "folder for heartbeat and failure note")->required();
  command->callback([arguments, &exit_code] { exit_code = run(*arguments); });
}

void add_describe_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("describe", "print the schema of a trial as JSON");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "the only form there is");
  command->callback([json] { fmt::print("{}\n", config::schema_to_json(trial::trial_schema(), 1)); });
}

}  // namespace aqlm_exp::app
