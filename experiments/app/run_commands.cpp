// `aqlm-exp run` and `plan`.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "analysis/text_table.h"
#include "experiments/app/detach.h"
#include "experiments/app/driver_commands.h"
#include "experiments/app/event_stream.h"
#include "experiments/app/progress_display.h"
#include "experiments/app/run_report.h"
#include "experiments/app/worker_program.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/plan/command.h"
#include "framework/plan/execute.h"
#include "framework/plan/prepare.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::app {
namespace {

struct Arguments {
  plan::ConfigRequest load;
  std::string out;
  bool json = false, dry_run = false, extend = false, keep_failed = false, verify_inputs = false;
  bool detach = false, events = false;
  int quiet = 0, verbose = 0;
  int64_t fail_fast = 0;
  int64_t retries = -1;
  std::string progress = "auto", code_mismatch = "reuse";
};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

plan::OutFolder out_folder(const Arguments& arguments, const LoadedSweep& loaded) {
  if (!arguments.out.empty()) return {arguments.out};
  if (!loaded.settings.output_dir.empty()) return {loaded.settings.output_dir};
  return {std::filesystem::path("runs") / std::filesystem::path(arguments.load.file).stem()};
}

ProgressStyle style_of(const Arguments& arguments) {
  if (arguments.quiet > 0 || arguments.progress == "none") return ProgressStyle::kNone;
  if (arguments.progress == "bar") return ProgressStyle::kBar;
  if (arguments.progress == "plain") return ProgressStyle::kPlain;
  return ProgressStyle::kAuto;
}

/// Trials that wait or run on a cluster are not run here as well.
void refuse_queued_trials(const plan::OutFolder& out) {
  if (!std::filesystem::is_directory(out.slurm_dir()) || plan::find_program("squeue").empty()) return;
  size_t queued = 0;
  try {
    queued = plan::slurm_queue(out).size();
  } catch (const Error& error) {
    log_warning(
        "{}: trials were submitted to Slurm from here, which does not answer now; those that run are waited for",
        out.root.string());
  }
  if (queued == 0) return;
  throw Error(ExitCode::kLauncher, "L-QUEUED",
              fmt::format("{}: {} of its trials wait or run on a Slurm cluster; go on with exp.launcher=slurm, or end "
                          "them first (scancel)",
                          out.root.string(), queued));
}

const char* state_word(plan::TrialState::Kind kind) {
  switch (kind) {
    case plan::TrialState::Kind::kCompleted:
      return "reused";
    case plan::TrialState::Kind::kFailed:
      return "failed before";
    case plan::TrialState::Kind::kDamaged:
      return "damaged, will be repeated";
    case plan::TrialState::Kind::kPlanned:
      break;
  }
  return "to run";
}

/// Lists the trials and what would happen to each. Changes nothing.
int show_plan(const Arguments& arguments, const LoadedSweep& loaded) {
  const plan::OutFolder out = out_folder(arguments, loaded);
  const bool exists = std::filesystem::exists(out.plan_file());
  plan::PlanDifference difference;
  plan::Plan stored;
  if (exists) {
    stored = plan::load_plan(out.plan_file());
    difference = plan::compare(stored, loaded.plan);
  }
  const plan::Scan scan = plan::scan(loaded.plan, out, plan::Verify::kSizes);
  std::vector<double> durations;
  for (const plan::TrialState& state : scan.trials) {
    if (state.kind == plan::TrialState::Kind::kCompleted) durations.push_back(state.sidecar->duration_s);
  }
  const auto to_run = static_cast<int64_t>(scan.trials.size()) - scan.count(plan::TrialState::Kind::kCompleted);
  double estimate_s = -1;
  if (!durations.empty()) {
    std::sort(durations.begin(), durations.end());
    estimate_s = durations[durations.size() / 2] * static_cast<double>(to_run) /
                 static_cast<double>(loaded.settings.launcher.workers);
  }
  if (arguments.json) {
    nlohmann::ordered_json json;
    json["out"] = results::clean_text(out.root.string());
    json["exists"] = exists;
    json["num_to_run"] = to_run;
    json["estimated_s"] = estimate_s >= 0 ? nlohmann::ordered_json(estimate_s) : nlohmann::ordered_json(nullptr);
    json["num_added"] = difference.added.size();
    json["num_removed"] = difference.removed.size();
    json["num_changed"] = difference.changed.size();
    json["trials"] = nlohmann::ordered_json::array();
    for (size_t i = 0; i < loaded.plan.trials.size(); ++i) {
      const plan::PlannedTrial& trial = loaded.plan.trials[i];
      json["trials"].push_back({{"id", trial.id},
                                {"name", results::clean_text(trial.name)},
                                {"overrides", trial.overrides},
                                {"state", state_word(scan.trials[i].kind)}});
    }
    print(json.dump(2) + "\n");
    return 0;
  }
  for (size_t i = 0; i < loaded.plan.trials.size(); ++i) {
    const plan::PlannedTrial& trial = loaded.plan.trials[i];
    print(fmt::format("{}  {:<14}  {}\n", trial.id.substr(0, 12), state_word(scan.trials[i].kind),
                      analysis::printable(trial.name)));
  }
  log_info("{} trial(s), {} to run, in {}{}", loaded.plan.trials.size(), to_run, out.root.string(),
           estimate_s >= 0 ? ", about " + duration_text(estimate_s) : std::string());
  if (!difference.empty()) {
    log_info("the folder holds another plan:\n{}--extend adds the new trials to it", plan::describe(difference));
  }
  return 0;
}

/// The exp node in force, for tasks of a cluster: what flags of the command changed is in it.
config::Node exp_in_force(const LoadedSweep& loaded) {
  config::Node exp = loaded.plan.exp.is_map() ? loaded.plan.exp : config::Node::map();
  config::Node* launcher = exp.map_value().find("launcher");
  if (launcher == nullptr || !launcher->is_map()) {
    config::Node full = config::Node::map();
    full.map_value().set("type", config::Node::string(loaded.settings.launcher.type, {}));
    exp.map_value().set("launcher", full);
    launcher = exp.map_value().find("launcher");
  }
  launcher->map_value().set("retries", config::Node::integer(loaded.settings.launcher.retries, {}));
  exp.map_value().erase("sweep");
  return exp;
}

int run(Arguments& arguments, const std::vector<std::string>& command_line) {
  arguments.load.command_line = command_line;
  arguments.load.trust_fingerprints = !arguments.verify_inputs;
  LoadedSweep loaded = load_sweep(arguments.load);
  for (const std::string& warning : loaded.warnings) log_warning("{}", warning);
  if (arguments.retries >= 0) loaded.settings.launcher.retries = arguments.retries;
  if (arguments.dry_run) return show_plan(arguments, loaded);
  const std::filesystem::path worker = worker_program();
  const plan::OutFolder out = out_folder(arguments, loaded);
  std::vector<std::string> words = {"aqlm-exp"};
  words.insert(words.end(), command_line.begin(), command_line.end());
  const std::string again = plan::shell_command(words);
  results::make_folders(out.root);
  const bool slurm = loaded.settings.launcher.type == "slurm";
  Detachment detachment(arguments.detach && !slurm, out.root / "driver.log");
  if (detachment.is_parent()) return detachment.wait_until_started();
  const plan::FolderLock lock(out, again);
  if (!slurm) refuse_queued_trials(out);
  plan::PrepareOptions prepare_options;
  prepare_options.extend = arguments.extend;
  prepare_options.code_mismatch = arguments.code_mismatch == "rerun"  ? plan::CodeMismatch::kRerun
                                  : arguments.code_mismatch == "fail" ? plan::CodeMismatch::kFail
                                                                      : plan::CodeMismatch::kReuse;
  plan::Prepared prepared = plan::prepare(loaded.plan, out, prepare_options);
  for (const std::string& note : prepared.notes) log_info("{}", note);
  if (prepared.resumed) {
    log_info("{}: resuming, {} of {} trial(s) are there and verified", out.root.string(),
             prepared.scan.count(plan::TrialState::Kind::kCompleted), prepared.plan.trials.size());
  } else {
    log_info("{}: {} trial(s)", out.root.string(), prepared.plan.trials.size());
  }
  detachment.started(fmt::format("running in the background as pid {}; look on with: aqlm-exp status {} --watch",
                                 ::getpid(), plan::shell_quoted(out.root.string())));
  plan::Outcome outcome;
  {
    EventStream events(prepared.plan, arguments.events);
    ProgressDisplay display(prepared.plan, style_of(arguments), arguments.verbose > 0);
    plan::ExecuteOptions options;
    options.worker = worker;
    options.launcher = loaded.settings.launcher;
    options.fail_fast = arguments.fail_fast;
    options.keep_failed = arguments.keep_failed;
    options.build_id = build_info().build_id;
    options.heartbeat_s = plan::heartbeat_interval_s();
    options.worker_variables = {{"AQLM_EXP_CACHE_MIB", std::to_string(loaded.settings.cache_mib)}};
    options.on_event = [&](const plan::Event& event) {
      display.on_event(event);
      events.on_event(event);
    };
    options.on_tick = [&](const plan::Progress& progress) {
      display.on_tick(progress);
      events.on_tick(progress);
    };
    events.run_started(out.root.string(), prepared.scan.count(plan::TrialState::Kind::kCompleted));
    if (slurm) {
      outcome =
          plan::execute_slurm(prepared.plan, out, prepared.scan, options,
                              {.program = program_file(), .exp = exp_in_force(loaded), .detach = arguments.detach});
    } else {
      outcome = plan::execute(prepared.plan, out, prepared.scan, options);
    }
    display.finish(outcome.progress);
    events.run_finished(outcome);
  }
  if (slurm && arguments.detach) {
    std::erase(words, "--detach");
    log_info("submitted; look on with: aqlm-exp status {}; collect the results with: {}",
             plan::shell_quoted(out.root.string()), plan::shell_command(words));
    return static_cast<int>(ExitCode::kOk);
  }
  const bool unfinished = outcome.signal != 0 || outcome.exit_code == ExitCode::kStorage;
  if (arguments.json) {
    print(report_json(prepared.plan, out, prepared.scan, outcome));
  } else if (outcome.signal == 0 && !arguments.events && arguments.quiet < 2) {
    print(report_table(prepared.plan, out, prepared.scan, loaded.settings.budgets, terminal_width(1), may_style(1)));
  }
  std::fflush(stdout);
  if (!unfinished) {
    merge_out(out, prepared.plan);  // last: a full disk must not keep the table back
    write_out_report(out);
  }
  if (!outcome.storage_problem.empty()) log_error("{}", outcome.storage_problem);
  if (unfinished || outcome.exit_code == ExitCode::kStopped)
    log_message(LogLevel::kError, "unfinished; go on with: " + again);
  if (outcome.exit_code == ExitCode::kFailedTrials) {
    log_error("{} trial(s) failed; `aqlm-exp logs {} ID` shows what they wrote, the same command runs them again",
              prepared.scan.count(plan::TrialState::Kind::kFailed), plan::shell_quoted(out.root.string()));
  }
  return outcome.signal != 0 ? 128 + outcome.signal : static_cast<int>(outcome.exit_code);
}

void add_common(CLI::App& command, const std::shared_ptr<Arguments>& arguments) {
  command.add_option("FILE", arguments->load.file, "configuration, or builtin:configs/NAME.yaml")->required();
  command.add_option("OVERRIDES", arguments->load.overrides,
                     "key=value, group=option, method=rtn,gptq (a sweep), +new=1, ~gone");
  command.add_option("-o,--out", arguments->out, "output folder [runs/<config name>]");
  command.add_option("--config-dir", arguments->load.config_dirs, "further folder of configurations (repeatable)")
      ->take_all();
  command.add_option("--max-trials", arguments->load.max_trials, "refuse larger sweeps")->capture_default_str();
  const config::YamlLimits least;
  command.add_option("--max-file-bytes", arguments->load.limits.max_bytes, "largest YAML file that is read")
      ->check(CLI::Range(least.max_bytes, size_t{1} << 30))
      ->capture_default_str();
  command.add_option("--max-nodes", arguments->load.limits.max_nodes, "most nodes of one YAML file")
      ->check(CLI::Range(least.max_nodes, size_t{100000000}))
      ->capture_default_str();
  command.add_flag("--verify-inputs", arguments->verify_inputs,
                   "read models and texts again in place of remembered hashes");
  command.add_flag("--json", arguments->json, "one JSON document on stdout");
  command.add_flag("-q,--quiet", arguments->quiet, "errors only; twice: nothing");
  command.add_flag("-v,--verbose", arguments->verbose, "more; twice: everything");
}

void set_log_level_from(const Arguments& arguments) {
  if (arguments.quiet > 0) set_log_level(LogLevel::kError);
  if (arguments.quiet > 1) {  // nothing at all, whoever writes it
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, 2);
    ::close(nowhere);
  }
  if (arguments.verbose > 0) set_log_level(LogLevel::kDebug);
}

}  // namespace

void add_run_commands(CLI::App& app, const std::vector<std::string>& command_line, int& exit_code) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("run", "plan a sweep and execute it; goes on where an earlier run stopped");
  add_common(*command, arguments);
  command->add_flag("--dry-run", arguments->dry_run, "list the trials and stop, like `plan`");
  command->add_flag("--extend", arguments->extend, "add new trials to the plan of an existing folder");
  command->add_flag("--fail-fast{1}", arguments->fail_fast, "stop after a failed trial; --fail-fast=N: after N of them")
      ->check(CLI::PositiveNumber);
  command->add_flag("--keep-failed", arguments->keep_failed, "do not run trials again that failed before");
  command->add_option("--retries", arguments->retries, "repeats of any failed trial [one after a crash or a hang]")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--detach", arguments->detach,
                    "local: run on in the background, also without a terminal; slurm: return once all is submitted");
  command->add_flag("--events", arguments->events, "JSON lines on stdout, one an event (docs/events.schema.json)")
      ->excludes("--json");
  command->add_option("--progress", arguments->progress, "auto, bar, plain or none")
      ->check(CLI::IsMember({"auto", "bar", "plain", "none"}))
      ->capture_default_str();
  command->add_option("--code-mismatch", arguments->code_mismatch, "results of another build: reuse, rerun or fail")
      ->check(CLI::IsMember({"reuse", "rerun", "fail"}))
      ->capture_default_str();
  command->callback([arguments, &command_line, &exit_code] {
    set_log_level_from(*arguments);
    exit_code = run(*arguments, command_line);
  });

  auto plan_arguments = std::make_shared<Arguments>();
  CLI::App* plan_command =
      app.add_subcommand("plan", "list the trials of a sweep and what would be reused; runs nothing");
  add_common(*plan_command, plan_arguments);
  plan_command->callback([plan_arguments, &command_line, &exit_code] {
    set_log_level_from(*plan_arguments);
    plan_arguments->dry_run = true;
    exit_code = run(*plan_arguments, command_line);
  });

  struct TaskArguments {
    std::string out;
    int64_t submission = 0, index = 0;
  };
  auto task = std::make_shared<TaskArguments>();
  CLI::App* task_command = app.add_subcommand("task", "one trial of a Slurm submission; called by its batch script");
  task_command->group("");  // not for people
  task_command->add_option("OUT", task->out)->required();
  task_command->add_option("SUBMISSION", task->submission)->required();
  task_command->add_option("INDEX", task->index)->required();
  task_command->callback(
      [task, &exit_code] { exit_code = plan::run_slurm_task({task->out}, task->submission, task->index); });
}

}  // namespace aqlm_exp::app
