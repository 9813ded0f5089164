#include "experiments/app/load_dataset.h"

#include <fmt/format.h>

#include <map>

#include "experiments/app/driver_commands.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/plan/command.h"
#include "framework/plan/scan.h"
#include "framework/plan/settings.h"
#include "framework/results/publish.h"

namespace aqlm_exp::app {
namespace {

using Kind = plan::TrialState::Kind;

void take_failure(const results::Sidecar& sidecar, analysis::TrialRow& row) {
  row.status = sidecar.status;
  row.failure_class = sidecar.failure_class;
  row.message = sidecar.message;
  row.exit_code = sidecar.exit_code;
  row.signal = sidecar.signal;
  row.log_tail = sidecar.log_tail;
}

analysis::TrialRow load_row(const plan::Plan& plan, const plan::PlannedTrial& trial, const plan::OutFolder& out,
                            bool driver_active) {
  analysis::TrialRow row;
  row.id = trial.id;
  row.name = trial.name;
  row.source = out.root.string();
  row.repeat = trial.repeat;
  row.overrides = trial.overrides;
  row.command = plan::shell_command(repro_words(plan, trial));
  // Sizes only: reading the result compares its hash anyway.
  const plan::TrialState state = plan::trial_state(trial, out, plan::Verify::kSizes);
  row.attempt = state.attempts;
  if (state.sidecar) {
    row.attempt = state.sidecar->attempt;
    row.duration_s = state.sidecar->duration_s;
  }
  switch (state.kind) {
    case Kind::kCompleted:
      try {
        row.record = results::read_published(out.results_dir(), trial.id);
        row.status = "completed";
        // Reports work on blocks; values per token would fill the memory of a large sweep.
        std::erase_if(row.record->samples, [](const results::Samples& s) { return s.name.rfind("token_", 0) == 0; });
      } catch (const StorageError& error) {
        row.status = "damaged";
        row.failure_class = "storage";
        row.message = error.what();
      } catch (const Error& error) {
        if (error.exit_code() != ExitCode::kVersion) throw;
        row.status = "unreadable";
        row.failure_class = "version";
        row.message = error.what();
      }
      break;
    case Kind::kFailed:
      take_failure(*state.sidecar, row);
      break;
    case Kind::kDamaged:
      row.status = "damaged";
      row.failure_class = "storage";
      row.message = state.damage;
      break;
    case Kind::kPlanned:
      row.status = "planned";
      if (state.attempts > 0 && !driver_active) {
        row.status = "lost";
        row.message = fmt::format("attempt {} ended without a result; `aqlm-exp run` on this folder repeats the trial",
                                  state.attempts);
      }
  }
  return row;
}

}  // namespace

std::vector<std::string> repro_words(const plan::Plan& plan, const plan::PlannedTrial& trial) {
  std::vector<std::string> words = {"aqlm-exp", "run", plan.config_file};
  words.insert(words.end(), trial.all_overrides.begin(), trial.all_overrides.end());
  words.insert(words.end(), {"exp.sweep=null", "-o", "repro-" + trial.id.substr(0, 12)});
  return words;
}

analysis::Dataset load_dataset(const std::vector<std::string>& folders, const std::vector<double>& budgets) {
  analysis::Dataset data;
  data.writer = "aqlm-exp " + build_info().version + " (" + build_info().build_id + ")";
  std::map<std::string, size_t> seen;
  size_t repeated = 0;
  for (const std::string& folder : folders) {
    const plan::OutFolder out{folder};
    const plan::Plan plan = open_out(out);
    const bool active = plan::lock_holder(out).held;
    std::vector<std::string> words = {"aqlm-exp"};
    words.insert(words.end(), plan.arguments.begin(), plan.arguments.end());
    analysis::Source source{.path = folder,
                            .config_file = plan.config_file,
                            .created_utc = plan.created_utc,
                            .command = plan::shell_command(words),
                            .build_id = plan.build_id,
                            .files = {},
                            .num_trials = plan.trials.size()};
    for (const plan::ConfigFile& file : plan.files) source.files.emplace_back(file.path, file.sha256);
    if (data.sources.empty()) {
      std::vector<config::Problem> problems;
      const plan::ExpSettings settings = plan::read_exp(plan.exp, problems);
      if (problems.empty()) data.budgets = settings.budgets;
    }
    data.sources.push_back(std::move(source));
    for (const plan::PlannedTrial& trial : plan.trials) {
      analysis::TrialRow row = load_row(plan, trial, out, active);
      const auto [found, added] = seen.emplace(trial.id, data.rows.size());
      if (added) {
        data.rows.push_back(std::move(row));
        continue;
      }
      ++repeated;
      if (!data.rows[found->second].completed() && row.completed()) data.rows[found->second] = std::move(row);
    }
  }
  if (repeated > 0) {
    data.notes.push_back(
        fmt::format("{} trial(s) are in several of the folders and stand here once (same identity).", repeated));
  }
  if (!budgets.empty()) data.budgets = budgets;
  return data;
}

}  // namespace aqlm_exp::app
