// Works a plan off on this machine: one process a trial, watched, judged, repeated where that makes sense.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/error.h"
#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/process.h"
#include "framework/plan/scan.h"
#include "framework/plan/settings.h"

namespace aqlm_exp::plan {

/// A trial that runs now, for displays.
struct RunningTrial {
  size_t index = 0;  ///< in the plan
  int64_t attempt = 1;
  pid_t pid = -1;
  double elapsed_s = 0;  ///< without times in which this driver was stopped
  Beat beat = {};        ///< latest progress
};

struct Progress {
  size_t num_trials = 0;     ///< planned
  size_t num_completed = 0;  ///< incl. reused
  size_t num_reused = 0;
  size_t num_failed = 0;  ///< finally, in this run
  std::vector<RunningTrial> running;
  double elapsed_s = 0;
  double median_trial_s = 0;  ///< of those completed in this run; 0: none yet
};

struct Event {
  enum class Kind { kStarted, kCompleted, kFailed, kRetry, kCancelled, kStopping };
  Kind kind = Kind::kStarted;
  size_t index = 0;
  int64_t attempt = 1;
  double duration_s = 0;
  Verdict verdict = {};     ///< of an ended attempt
  std::string detail = {};  ///< kRetry: when; kStopping: why
};

struct ExecuteOptions {
  std::filesystem::path worker;               ///< program
  std::vector<std::string> worker_arguments;  ///< before "run"; normally none
  LauncherSettings launcher;
  int64_t fail_fast = 0;     ///< stop after so many failed trials; 0: never
  bool keep_failed = false;  ///< trials that failed in an earlier run are not run again
  std::string build_id;
  double heartbeat_s = kHeartbeatIntervalS;
  std::vector<std::pair<std::string, std::string>> worker_variables;  ///< set for workers besides those we choose
  /// Run this trial alone, as one of many processes that work on the folder (a Slurm task): events go to a journal of
  /// its own, nothing outside the trial is touched.
  std::optional<size_t> only;
  std::function<void(const Event&)> on_event = [](const Event&) {};
  std::function<void(const Progress&)> on_tick = [](const Progress&) {};  ///< about four times a second
};

struct Outcome {
  Progress progress;
  ExitCode exit_code = ExitCode::kOk;
  int signal = 0;  ///< that interrupted the run: the process exits with 128 + signal
  std::string storage_problem;
};

/// Runs every trial of `plan` that `scan` does not know as completed, in plan order. The caller holds the folder's
/// lock. Catches SIGINT, SIGTERM and SIGHUP meanwhile: the first lets running trials finish for grace_s, the second
/// kills them.
/// @param scan updated as trials end
/// @throws Error with kLauncher if the worker cannot be started
Outcome execute(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options,
                results::FileSystem& files = results::system_files());

/// What a run on a Slurm cluster needs besides.
struct SlurmRun {
  std::filesystem::path program;  ///< aqlm-exp, as the nodes see it
  config::Node exp;               ///< the exp node in force, for the tasks
  bool detach = false;            ///< return once everything is submitted
};

/// As execute(), but each trial is a task of a job array on a Slurm cluster: `aqlm-exp task OUT N INDEX`. Tasks that an
/// earlier driver submitted and that still wait or run are taken over. The queue is asked only for what files do not
/// tell: a task that left it without a result was cancelled, preempted, timed out or crashed.
/// @throws Error with kLauncher if Slurm's tools are missing, or refuse at the start
Outcome execute_slurm(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options,
                      const SlurmRun& run, results::FileSystem& files = results::system_files());

/// The command of a task: runs trial number `index` of submission `submission` of OUT, with everything that execute()
/// does for a trial. @return its exit code
int run_slurm_task(const OutFolder& out, int64_t submission, int64_t index);

/// Trials that wait or run in Slurm's queue, by id, with "PENDING", "RUNNING", ... Empty where nothing was ever
/// submitted. @throws Error with kLauncher when Slurm does not answer
std::map<std::string, std::string> slurm_queue(const OutFolder& out);

/// Cores this process may use.
int64_t available_cores();

}  // namespace aqlm_exp::plan
