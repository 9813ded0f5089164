// From a configuration file and overrides to a checked plan; and small things that several commands share.
#include <fmt/format.h>

#include "experiments/app/driver_commands.h"
#include "experiments/app/worker_program.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/home.h"
#include "framework/base/log.h"
#include "framework/plan/build_plan.h"
#include "framework/plan/scan.h"
#include "framework/results/merge.h"

namespace aqlm_exp::app {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kBuiltin = "builtin:";

fs::path config_path(const std::string& text) {
  fs::path path = text;
  if (text.rfind(kBuiltin, 0) == 0) path = program_home() / text.substr(kBuiltin.size());
  if (!fs::is_regular_file(path)) {
    throw ConfigError(fmt::format("{}: {}; need a YAML file, e.g. builtin:configs/sweep_qwen.yaml", path.string(),
                                  fs::exists(path) ? "not a regular file" : "there is no such file"),
                      "D101");
  }
  return path;
}

}  // namespace

LoadedSweep load_sweep(const LoadRequest& request) {
  const fs::path file = config_path(request.file);
  config::ComposeRequest compose;
  compose.file = file;
  compose.overrides = request.overrides;
  for (const std::string& folder : request.config_dirs) compose.roots.emplace_back(folder);
  compose.roots.push_back(program_home() / "configs");
  compose.max_trials = request.max_trials;
  compose.limits = request.limits;
  const config::Sweep sweep = config::expand_sweep(compose);
  LoadedSweep loaded;
  loaded.warnings = sweep.warnings;
  std::vector<config::Problem> problems;
  loaded.settings = plan::read_exp(sweep.exp, problems);
  if (!problems.empty()) {
    if (sweep.sources) sweep.sources->attach(problems);
    throw config::CompositionError(std::move(problems));
  }
  const config::Object schema = trial_schema();
  plan::PlanRequest plan_request;
  plan_request.sweep = &sweep;
  plan_request.schema = &schema;
  plan_request.paths = {.working_directory = fs::current_path(), .builtin_root = program_home()};
  plan_request.config_file = file;
  plan_request.arguments = request.command_line;
  plan_request.writer = "aqlm-exp " + build_info().version;
  plan_request.build_id = build_info().build_id;
  plan_request.trust_fingerprints = request.trust_fingerprints;
  loaded.plan = plan::build_plan(plan_request);
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

std::string shell_quoted(const std::string& word) {
  const bool plain = !word.empty() && word.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                          "_-+=./:,@%") == std::string::npos;
  if (plain) return word;
  std::string out = "'";
  for (char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string shell_command(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + shell_quoted(word);
  return text;
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
