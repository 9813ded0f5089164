#include "framework/plan/run_book.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

namespace aqlm_exp::plan {
namespace {

constexpr double kMostChargedS = 2.0;

}  // namespace

RunBook::RunBook(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options,
                 results::FileSystem& files, std::string when_interrupted)
    : journal(options.only ? out.trial_dir(plan.trials[*options.only].id) / "journal.jsonl" : out.journal_file(),
              files),
      plan_(plan),
      out_(out),
      scan_(scan),
      options_(options),
      files_(files),
      when_interrupted_(std::move(when_interrupted)) {
  outcome.progress.num_trials = plan.trials.size();
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    if (options.only && *options.only != i) continue;
    const TrialState& state = scan.trials[i];
    if (state.kind == TrialState::Kind::kCompleted) {
      ++outcome.progress.num_completed;
      ++outcome.progress.num_reused;
    } else if (state.kind == TrialState::Kind::kFailed && options.keep_failed) {
      ++outcome.progress.num_failed;
    } else {
      open_trials_.push_back(i);
    }
  }
}

double RunBook::charge() {
  const double charged_s = std::min(tick_.elapsed_s(), kMostChargedS);
  tick_.restart();
  outcome.progress.elapsed_s += charged_s;
  if (stopping_ && outcome.signal != 0) since_interrupt_s_ += charged_s;
  return charged_s;
}

void RunBook::stop(const std::string& why) {
  if (stopping_) return;
  stopping_ = true;
  journal.write("run.stopping", {{"why", why}});
  options_.on_event({.kind = Event::Kind::kStopping, .detail = why});
  on_stop();
}

void RunBook::interrupt(int signal) {
  if (outcome.signal != 0) {
    kill_all_ = true;
    return;
  }
  outcome.signal = signal == SIGHUP ? SIGTERM : signal;
  stop(fmt::format("{}: {}", signal == SIGINT ? "interrupted" : "asked to end", when_interrupted_));
}

bool RunBook::out_of_patience() const { return kill_all_ || since_interrupt_s_ > options_.launcher.grace_s; }

void RunBook::storage_failed(const std::string& message) {
  if (outcome.storage_problem.empty()) outcome.storage_problem = message;
  stop("storage: " + message);
}

void RunBook::stop_for_failures(const std::string& why) {
  stopped_by_failures_ = true;
  stop(why);
}

void RunBook::check_failures() {
  if (options_.fail_fast > 0 && outcome.progress.num_failed >= static_cast<size_t>(options_.fail_fast)) {
    stop_for_failures(fmt::format("--fail-fast: {} trial(s) failed", outcome.progress.num_failed));
  }
}

void RunBook::completed(double duration_s) {
  ++outcome.progress.num_completed;
  durations_s_.push_back(duration_s);
}

results::Sidecar RunBook::failure_of(size_t index, const Verdict& verdict, int64_t attempt) const {
  results::Sidecar sidecar;
  sidecar.id = trial(index).id;
  sidecar.name = trial(index).name;
  sidecar.overrides = trial(index).overrides;
  sidecar.status = verdict.status;
  sidecar.failure_class = verdict.failure_class;
  sidecar.message = verdict.message;
  sidecar.attempt = attempt;
  sidecar.exit_code = verdict.exit_code;
  sidecar.signal = verdict.signal;
  sidecar.build_id = options_.build_id;
  return sidecar;
}

void RunBook::publish_failure(size_t index, const results::Sidecar& sidecar) {
  try {
    results::publish_failure(sidecar, out_.results_dir(), files_);
    scan_.trials[index].kind = TrialState::Kind::kFailed;
    scan_.trials[index].sidecar = sidecar;
  } catch (const StorageError& error) {
    storage_failed(error.what());
  }
}

void RunBook::show() {
  if (durations_s_.size() != sorted_count_) {
    std::vector<double> sorted = durations_s_;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(sorted.size() / 2), sorted.end());
    outcome.progress.median_trial_s = sorted[sorted.size() / 2];
    sorted_count_ = durations_s_.size();
  }
  options_.on_tick(outcome.progress);
}

Outcome RunBook::finish() {
  if (!outcome.storage_problem.empty()) {
    outcome.exit_code = ExitCode::kStorage;
  } else if (stopped_by_failures_) {
    outcome.exit_code = ExitCode::kStopped;
  } else if (outcome.progress.num_failed > 0) {
    outcome.exit_code = ExitCode::kFailedTrials;
  }
  journal.write("run.ended", {{"completed", std::to_string(outcome.progress.num_completed)},
                              {"failed", std::to_string(outcome.progress.num_failed)},
                              {"exit_code", std::to_string(static_cast<int>(outcome.exit_code))},
                              {"signal", std::to_string(outcome.signal)}});
  return std::move(outcome);
}

}  // namespace aqlm_exp::plan
