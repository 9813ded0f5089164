// What a run on this machine and one on a cluster keep alike: counts, the journal, when and why it stops, how it ended.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "framework/base/timer.h"
#include "framework/plan/execute.h"

namespace aqlm_exp::plan {

class RunBook {
 public:
  /// Everything passed must outlive the book.
  /// @param when_interrupted what the first signal brings, for the user
  RunBook(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options, results::FileSystem& files,
          std::string when_interrupted);

  /// Trials of the plan that are to be run, in plan order; the others are counted as reused or failed already.
  const std::vector<size_t>& open_trials() const { return open_trials_; }
  const PlannedTrial& trial(size_t index) const { return plan_.trials[index]; }

  /// The clock of the run starts here.
  void start() { tick_.restart(); }
  /// Time since the last call, at most 2 s: more means that this process was stopped, which is nobody's time-out.
  double charge();

  /// The first call stops the run: journal, event, on_stop.
  void stop(const std::string& why);
  bool stopping() const { return stopping_; }
  void interrupt(int signal);
  /// A second signal came, or grace_s passed since the first.
  bool out_of_patience() const;
  void storage_failed(const std::string& message);
  /// No result can be had any more; the exit code says so.
  void stop_for_failures(const std::string& why);
  /// Stops the run if it has as many failures as --fail-fast allows.
  void check_failures();

  void completed(double duration_s);
  /// A sidecar that says how the trial's attempt failed; without its log's tail.
  results::Sidecar failure_of(size_t index, const Verdict& verdict, int64_t attempt) const;
  /// Publishes it; a file system that refuses stops the run.
  void publish_failure(size_t index, const results::Sidecar& sidecar);

  /// Shows progress; `running` has been filled by the caller.
  void show();
  /// Exit code and the journal's last line.
  Outcome finish();

  Journal journal;
  Outcome outcome;
  std::function<void()> on_stop = [] {};

 private:
  const Plan& plan_;
  const OutFolder& out_;
  Scan& scan_;
  const ExecuteOptions& options_;
  results::FileSystem& files_;
  std::string when_interrupted_;
  std::vector<size_t> open_trials_;
  std::vector<double> durations_s_;
  size_t sorted_count_ = 0;
  Stopwatch tick_;
  bool stopping_ = false, kill_all_ = false, stopped_by_failures_ = false;
  double since_interrupt_s_ = 0;
};

}  // namespace aqlm_exp::plan
