// Trials as tasks of Slurm job arrays. What a submission holds is a file, OUT/slurm/<n>.json, written before sbatch is
// called; its job name carries the folder and n, so that any later driver can tell from the queue alone which trial a
// task runs, also when the driver that submitted it was killed before it could note a job id.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "framework/base/log.h"
#include "framework/base/sha256.h"
#include "framework/base/timer.h"
#include "framework/plan/execute.h"
#include "framework/plan/signal_inbox.h"
#include "framework/plan/slurm.h"
#include "framework/plan/trial_lock.h"
#include "framework/results/record.h"

namespace aqlm_exp::plan {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kTickMs = 250;
constexpr double kResultsEveryS = 0.5;
constexpr int kLooksBeforeGone = 2;  // at the queue, without a result: shared file systems show files late
constexpr size_t kTailLines = 50;

struct Submission {
  std::vector<std::string> trials;  // ids, by task index
  config::Node exp;
  std::string worker, build_id;
  double heartbeat_s = kHeartbeatIntervalS;
};

fs::path absolute_root(const OutFolder& out) {
  std::error_code error;
  const fs::path path = fs::canonical(out.root, error);
  return error ? fs::absolute(out.root) : path;
}

/// Start of the job names of a folder's submissions.
std::string name_start(const OutFolder& out) {
  return "aqlm-exp-" + sha256_hex(absolute_root(out).string()).substr(0, 10) + "-";
}

fs::path submission_file(const OutFolder& out, int64_t number) {
  return out.slurm_dir() / fmt::format("{}.json", number);
}

Submission load_submission(const OutFolder& out, int64_t number) {
  const fs::path file = submission_file(out, number);
  try {
    const Json json = Json::parse(results::read_file(file));
    Submission submission;
    submission.trials = json.at("trials").get<std::vector<std::string>>();
    submission.exp = config::from_json(json.at("exp").dump(), file.string());
    submission.worker = json.at("worker").get<std::string>();
    submission.build_id = json.at("build_id").get<std::string>();
    submission.heartbeat_s = json.at("heartbeat_s").get<double>();
    return submission;
  } catch (const nlohmann::json::exception& error) {
    throw StorageError(
        fmt::format("{}: the submission is damaged ({}); scancel its jobs and run again", file.string(), error.what()),
        "P-DAMAGED");
  }
}

std::vector<int64_t> submission_numbers(const OutFolder& out) {
  std::vector<int64_t> numbers;
  std::error_code error;
  for (fs::directory_iterator it(out.slurm_dir(), error), end; !error && it != end; it.increment(error)) {
    const std::string stem = it->path().stem().string();
    int64_t number = 0;
    const auto [last, bad] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
    if (it->path().extension() == ".json" && bad == std::errc() && last == stem.data() + stem.size()) {
      numbers.push_back(number);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

/// A word for the shell that runs a batch script.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

/// Tasks in the queue, with the trial of each.
std::map<SlurmTask, std::pair<std::string, SlurmTaskState>> tasks_of(const OutFolder& out, const SlurmClient& client) {
  std::map<SlurmTask, std::pair<std::string, SlurmTaskState>> found;
  const std::string start = name_start(out);
  std::map<int64_t, Submission> submissions;
  for (const auto& [task, state] : client.queue(start)) {
    int64_t number = -1;
    std::from_chars(state.job_name.data() + start.size(), state.job_name.data() + state.job_name.size(), number);
    if (number < 0 || !fs::exists(submission_file(out, number))) continue;
    if (submissions.count(number) == 0) submissions[number] = load_submission(out, number);
    const std::vector<std::string>& trials = submissions[number].trials;
    if (task.task < 0 || task.task >= static_cast<int64_t>(trials.size())) continue;
    found[task] = {trials[static_cast<size_t>(task.task)], state};
  }
  return found;
}

class SlurmExecutor {
 public:
  SlurmExecutor(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options, const SlurmRun& run,
                results::FileSystem& files)
      : plan_(plan),
        out_(out),
        scan_(scan),
        options_(options),
        run_(run),
        files_(files),
        journal_(out.journal_file(), files) {
    outcome_.progress.num_trials = plan.trials.size();
    for (size_t i = 0; i < plan.trials.size(); ++i) {
      index_of_[plan.trials[i].id] = i;
      const TrialState& state = scan.trials[i];
      if (state.kind == TrialState::Kind::kCompleted) {
        ++outcome_.progress.num_completed;
        ++outcome_.progress.num_reused;
      } else if (state.kind == TrialState::Kind::kFailed && options.keep_failed) {
        ++outcome_.progress.num_failed;
      } else {
        open_[i] = {.attempts_before = state.attempts};
      }
    }
  }

  Outcome run() {
    max_array_ = client_.max_array_tasks();
    SignalInbox inbox;
    attach();
    submit_open();
    if (run_.detach) {
      journal_.write("run.detached", {{"submitted", std::to_string(open_.size())}});
      return std::move(outcome_);
    }
    Stopwatch tick, since_results, since_queue;
    bool look_now = true;
    while (!open_.empty()) {
      for (int number : inbox.take()) interrupt(number);
      const double charged_s = std::min(tick.elapsed_s(), 2.0);
      tick.restart();
      outcome_.progress.elapsed_s += charged_s;
      for (auto& [index, task] : open_) {
        if (task.running) task.running_s += charged_s;
      }
      if (stopping_ && outcome_.signal != 0) since_interrupt_s_ += charged_s;
      if (kill_all_ || since_interrupt_s_ > options_.launcher.grace_s) cancel(/*pending_only=*/false);
      if (since_results.elapsed_s() >= kResultsEveryS) {
        since_results.restart();
        collect_results();
      }
      const double poll_s = stopping_ ? std::min(1.0, options_.launcher.slurm.poll_s) : options_.launcher.slurm.poll_s;
      if (look_now || since_queue.elapsed_s() >= poll_s) {
        look_now = false;
        look_at_queue();
        since_queue.restart();
      }
      show();
      if (!open_.empty()) inbox.wait(kTickMs);
    }
    finish();
    return std::move(outcome_);
  }

 private:
  struct Task {
    int64_t attempts_before = 0;
    std::optional<SlurmTask> task = {};
    bool running = false;
    double running_s = 0;
    int looks_missing = 0;  // at the queue
    int64_t repeats = 0;    // submissions after a crash
  };

  const PlannedTrial& trial(size_t index) const { return plan_.trials[index]; }

  /// Takes over what an earlier driver submitted.
  void attach() {
    size_t found = 0;
    for (const auto& [task, what] : tasks_of(out_, client_)) {
      const auto index = index_of_.find(what.first);
      if (index == index_of_.end() || open_.count(index->second) == 0) continue;
      Task& open = open_[index->second];
      open.task = task;
      if (trial_is_running(out_, what.first)) --open.attempts_before;  // its last attempt is the one that runs
      ++found;
    }
    if (found > 0) log_info("{} task(s) of an earlier submission still wait or run; they are taken over", found);
  }

  /// Submits every open trial that has no task, in arrays as large as the controller takes.
  void submit_open() {
    std::vector<size_t> wanted;
    for (const auto& [index, task] : open_) {
      if (!task.task) wanted.push_back(index);
    }
    for (size_t start = 0; start < wanted.size(); start += static_cast<size_t>(max_array_)) {
      const size_t end = std::min(wanted.size(), start + static_cast<size_t>(max_array_));
      submit({wanted.begin() + static_cast<long>(start), wanted.begin() + static_cast<long>(end)});
    }
  }

  void submit(const std::vector<size_t>& indices) {
    results::make_folders(out_.slurm_dir() / "logs", files_);
    const std::vector<int64_t> numbers = submission_numbers(out_);
    const int64_t number = numbers.empty() ? 1 : numbers.back() + 1;
    Json json;
    json["v"] = 1;
    json["exp"] = Json::parse(config::to_json(run_.exp));
    json["worker"] = options_.worker.string();
    json["build_id"] = options_.build_id;
    json["heartbeat_s"] = options_.heartbeat_s;
    json["trials"] = Json::array();
    for (size_t index : indices) json["trials"].push_back(trial(index).id);
    results::put_file(submission_file(out_, number), json.dump(1) + "\n", results::IfPresent::kFail, files_);
    const fs::path root = absolute_root(out_);
    SlurmSubmission submission;
    submission.job_name = name_start(out_) + std::to_string(number);
    submission.num_tasks = static_cast<int64_t>(indices.size());
    submission.settings = options_.launcher.slurm;
    submission.log_file = (root / "slurm" / "logs" / "%A_%a.log").string();
    submission.script = fmt::format("#!/bin/sh\nexec {} task {} {} \"$SLURM_ARRAY_TASK_ID\"\n",
                                    quoted(run_.program.string()), quoted(root.string()), number);
    const int64_t array = client_.submit(submission);
    for (size_t i = 0; i < indices.size(); ++i) {
      Task& task = open_.at(indices[i]);
      task.task = SlurmTask{.array = array, .task = static_cast<int64_t>(i)};
      task.running = false;
      task.looks_missing = 0;
    }
    journal_.write("slurm.submitted", {{"array", std::to_string(array)},
                                       {"submission", std::to_string(number)},
                                       {"trials", std::to_string(indices.size())}});
    log_info("submitted {} trial(s) as Slurm array {}", indices.size(), array);
  }

  void stop(const std::string& why) {
    if (stopping_) return;
    stopping_ = true;
    journal_.write("run.stopping", {{"why", why}});
    options_.on_event({.kind = Event::Kind::kStopping, .detail = why});
    cancel(/*pending_only=*/true);
  }

  void interrupt(int number) {
    if (outcome_.signal != 0) {
      kill_all_ = true;
      return;
    }
    outcome_.signal = number == SIGHUP ? SIGTERM : number;
    stop(
        fmt::format("{}: waiting tasks are cancelled, running ones have {:.0f} s to finish, a second signal cancels "
                    "them",
                    number == SIGINT ? "interrupted" : "asked to end", options_.launcher.grace_s));
  }

  void cancel(bool pending_only) {
    if (!pending_only && cancelled_all_) return;
    std::vector<SlurmTask> tasks;
    for (const auto& [index, task] : open_) {
      if (task.task) tasks.push_back(*task.task);
    }
    try {
      client_.cancel(tasks, pending_only);
      if (!pending_only) cancelled_all_ = true;
    } catch (const Error& error) {
      log_warning("{}", error.what());
      if (!pending_only) cancelled_all_ = true;
    }
  }

  void collect_results() {
    std::vector<size_t> indices;
    for (const auto& [index, task] : open_) indices.push_back(index);
    for (size_t index : indices) collect(index);
  }

  /// Takes the trial's result or failure if its task has published one. @return whether it had
  bool collect(size_t index) {
    const PlannedTrial& planned = trial(index);
    std::error_code ignored;
    if (!fs::exists(results::sidecar_path(out_.results_dir(), planned.id), ignored)) return false;
    const TrialState state = trial_state(planned, out_, Verify::kHashes);
    Task& task = open_.at(index);
    if (state.kind == TrialState::Kind::kCompleted) {
      scan_.trials[index] = state;
      ++outcome_.progress.num_completed;
      durations_s_.push_back(state.sidecar->duration_s);
      close(index, Event::Kind::kCompleted, {.status = "completed"}, state.sidecar->duration_s);
      return true;
    }
    if (state.kind != TrialState::Kind::kFailed || state.sidecar->attempt <= task.attempts_before) return false;
    scan_.trials[index] = state;
    const results::Sidecar& note = *state.sidecar;
    failed(index, {.status = note.status,
                   .failure_class = note.failure_class,
                   .message = note.message,
                   .exit_code = note.exit_code,
                   .signal = note.signal});
    return true;
  }

  void close(size_t index, Event::Kind kind, Verdict verdict, double duration_s) {
    const int64_t attempt = scan_.trials[index].sidecar ? scan_.trials[index].sidecar->attempt : 1;
    journal_.write("trial.ended", {{"id", trial(index).id},
                                   {"task", open_.at(index).task ? open_.at(index).task->str() : ""},
                                   {"status", verdict.status},
                                   {"class", verdict.failure_class},
                                   {"message", verdict.message}});
    open_.erase(index);
    options_.on_event(
        {.kind = kind, .index = index, .attempt = attempt, .duration_s = duration_s, .verdict = std::move(verdict)});
  }

  void failed(size_t index, Verdict verdict) {
    ++outcome_.progress.num_failed;
    close(index, Event::Kind::kFailed, std::move(verdict), 0);
    if (options_.fail_fast > 0 && outcome_.progress.num_failed >= static_cast<size_t>(options_.fail_fast)) {
      stopped_by_failures_ = true;
      stop(fmt::format("--fail-fast: {} trial(s) failed", outcome_.progress.num_failed));
    }
  }

  void look_at_queue() {
    std::map<SlurmTask, SlurmTaskState> queue;
    try {
      queue = client_.queue(name_start(out_));
      if (silent_) log_info("Slurm's controller answers again");
      silent_ = false;
    } catch (const Error& error) {  // a restart of the controller: results still come by files
      if (!silent_) log_warning("{}; results are still collected, the queue is asked again", error.what());
      silent_ = true;
      return;
    }
    std::vector<size_t> gone;
    for (auto& [index, task] : open_) {
      const auto found = task.task ? queue.find(*task.task) : queue.end();
      if (found != queue.end()) {
        task.looks_missing = 0;
        const bool runs = found->second.state == "RUNNING" || found->second.state == "COMPLETING";
        if (runs && !task.running) {
          options_.on_event({.kind = Event::Kind::kStarted, .index = index, .attempt = task.attempts_before + 1});
        }
        task.running = runs;
      } else if (++task.looks_missing >= kLooksBeforeGone) {
        gone.push_back(index);
      }
    }
    std::vector<size_t> again;
    for (size_t index : gone) {
      if (open_.count(index) == 0 || collect(index)) continue;
      if (trial_is_running(out_, trial(index).id)) continue;  // the queue is wrong or late; its lock is not
      if (left_without_result(index)) again.push_back(index);
    }
    if (!again.empty() && !stopping_) submit_open();
  }

  /// A task that is neither in the queue nor has left a result. @return whether it is to be submitted again
  bool left_without_result(size_t index) {
    const PlannedTrial& planned = trial(index);
    Task& task = open_.at(index);
    std::optional<SlurmTaskState> state;
    try {
      if (task.task) state = client_.task(*task.task);
    } catch (const Error& error) {
      log_debug("{}", error.what());
      task.looks_missing = 0;  // asked again after the next looks
      return false;
    }
    static const std::set<std::string> kAlive = {"PENDING",   "RUNNING",      "COMPLETING",   "CONFIGURING",
                                                 "SUSPENDED", "REQUEUED",     "REQUEUE_HOLD", "STOPPED",
                                                 "STAGE_OUT", "SPECIAL_EXIT", "RESIZING",     "SIGNALING"};
    if (state && kAlive.count(state->state) > 0) {
      task.looks_missing = 0;
      return false;
    }
    if (trial_state(planned, out_, Verify::kHashes).kind == TrialState::Kind::kDamaged) {
      quarantine(planned, out_, files_);  // half of a publication, and nobody at it any more
    }
    if (stopping_) {
      close(index, Event::Kind::kCancelled, {.status = "cancelled", .failure_class = "cancelled"}, 0);
      return false;
    }
    const std::string name = state ? state->state : "UNKNOWN";
    const std::string where = task.task ? task.task->str() : "";
    Verdict verdict;
    verdict.exit_code = state ? state->exit_code : -1;
    verdict.signal = state ? state->signal : 0;
    if (name == "PREEMPTED" || name == "NODE_FAIL" || name == "BOOT_FAIL" || name == "REVOKED") {
      retry(index, fmt::format("Slurm task {} ended as {}", where, name), "not counted as a failure");
      return true;
    }
    if (name == "CANCELLED") {
      verdict.status = verdict.failure_class = "cancelled";
      verdict.message = fmt::format("Slurm task {} was cancelled from outside (scancel)", where);
    } else if (name == "TIMEOUT" || name == "DEADLINE") {
      verdict.status = verdict.failure_class = "timed_out";
      verdict.message = fmt::format("Slurm task {} reached its time limit; raise exp.launcher.slurm.time", where);
    } else if (name == "OUT_OF_MEMORY") {
      verdict.status = "oom";
      verdict.failure_class = "oom_host";
      verdict.message = fmt::format("Slurm task {} ran out of memory; raise exp.launcher.slurm.mem", where);
    } else if (verdict.exit_code == static_cast<int64_t>(ExitCode::kStorage)) {
      const auto tail = tail_of(out_.slurm_dir() / "logs" / (where + ".log"), 1);
      if (outcome_.storage_problem.empty()) {
        outcome_.storage_problem =
            fmt::format("trial {}: {}; {}", planned.id.substr(0, 12),
                        tail.empty() ? "its task could not write" : tail.back(), results::free_space_text(out_.root));
      }
      close(index, Event::Kind::kCancelled, {.status = "cancelled", .failure_class = "storage"}, 0);
      stop("storage: " + outcome_.storage_problem);
      return false;
    } else {
      const int64_t allowed = options_.launcher.retries >= 0 ? options_.launcher.retries : 1;
      verdict.status = "failed";
      verdict.failure_class = state ? "crashed" : "lost";
      verdict.message = state ? fmt::format("Slurm task {} ended as {} with exit code {}, signal {}, and no result",
                                            where, name, verdict.exit_code, verdict.signal)
                              : fmt::format("Slurm no longer knows task {}, and there is no result", where);
      if (task.repeats < allowed) {
        ++task.repeats;
        retry(index, verdict.message, fmt::format("submitted again ({} of {})", task.repeats, allowed));
        return true;
      }
    }
    publish_failure(index, verdict);
    return false;
  }

  void retry(size_t index, const std::string& why, const std::string& detail) {
    open_.at(index).task.reset();
    options_.on_event({.kind = Event::Kind::kRetry,
                       .index = index,
                       .verdict = {.status = "failed", .failure_class = "preempted", .message = why},
                       .detail = detail});
  }

  void publish_failure(size_t index, const Verdict& verdict) {
    const PlannedTrial& planned = trial(index);
    const TrialState now = trial_state(planned, out_, Verify::kSizes);
    results::Sidecar sidecar;
    sidecar.id = planned.id;
    sidecar.name = planned.name;
    sidecar.overrides = planned.overrides;
    sidecar.status = verdict.status;
    sidecar.failure_class = verdict.failure_class;
    sidecar.message = verdict.message;
    sidecar.attempt = std::max<int64_t>(1, now.attempts);
    sidecar.exit_code = verdict.exit_code;
    sidecar.signal = verdict.signal;
    sidecar.build_id = options_.build_id;
    if (now.attempts > 0)
      sidecar.log_tail = tail_of(out_.attempt_dir(planned.id, now.attempts) / "stderr.log", kTailLines);
    try {
      results::publish_failure(sidecar, out_.results_dir(), files_);
      scan_.trials[index].kind = TrialState::Kind::kFailed;
      scan_.trials[index].sidecar = sidecar;
    } catch (const StorageError& error) {
      if (outcome_.storage_problem.empty()) outcome_.storage_problem = error.what();
      stop("storage: " + outcome_.storage_problem);
    }
    failed(index, verdict);
  }

  void show() {
    Progress& progress = outcome_.progress;
    progress.running.clear();
    for (auto& [index, task] : open_) {
      if (!task.running) continue;
      RunningTrial shown{.index = index, .attempt = task.attempts_before + 1, .elapsed_s = task.running_s};
      while (fs::exists(out_.attempt_dir(trial(index).id, shown.attempt + 1))) ++shown.attempt;  // requeued
      if (const auto beat = read_heartbeat(out_.attempt_dir(trial(index).id, shown.attempt))) shown.beat = *beat;
      progress.running.push_back(std::move(shown));
    }
    if (!durations_s_.empty()) {
      std::vector<double> sorted = durations_s_;
      std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(sorted.size() / 2), sorted.end());
      progress.median_trial_s = sorted[sorted.size() / 2];
    }
    options_.on_tick(progress);
  }

  void finish() {
    if (!outcome_.storage_problem.empty()) {
      outcome_.exit_code = ExitCode::kStorage;
    } else if (stopped_by_failures_) {
      outcome_.exit_code = ExitCode::kStopped;
    } else if (outcome_.progress.num_failed > 0) {
      outcome_.exit_code = ExitCode::kFailedTrials;
    }
    journal_.write("run.ended", {{"completed", std::to_string(outcome_.progress.num_completed)},
                                 {"failed", std::to_string(outcome_.progress.num_failed)},
                                 {"exit_code", std::to_string(static_cast<int>(outcome_.exit_code))},
                                 {"signal", std::to_string(outcome_.signal)}});
  }

  const Plan& plan_;
  const OutFolder& out_;
  Scan& scan_;
  const ExecuteOptions& options_;
  const SlurmRun& run_;
  results::FileSystem& files_;
  Journal journal_;
  SlurmClient client_;
  int64_t max_array_ = 1;
  std::map<std::string, size_t> index_of_;
  std::map<size_t, Task> open_;  // trials without a result, in plan order
  std::vector<double> durations_s_;
  bool stopping_ = false, kill_all_ = false, cancelled_all_ = false, stopped_by_failures_ = false, silent_ = false;
  double since_interrupt_s_ = 0;
  Outcome outcome_;
};

}  // namespace

Outcome execute_slurm(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options,
                      const SlurmRun& run, results::FileSystem& files) {
  return SlurmExecutor(plan, out, scan, options, run, files).run();
}

int run_slurm_task(const OutFolder& out, int64_t submission, int64_t index) {
  const Submission submitted = load_submission(out, submission);
  if (index < 0 || index >= static_cast<int64_t>(submitted.trials.size())) {
    throw UsageError(fmt::format("task {} of submission {}: it has {}", index, submission, submitted.trials.size()));
  }
  Plan plan;
  plan.trials.push_back(load_trial(out.plan_file(), submitted.trials[static_cast<size_t>(index)]));
  Scan scan;
  scan.trials.push_back(trial_state(plan.trials[0], out, Verify::kHashes));
  std::vector<config::Problem> problems;
  const ExpSettings settings = read_exp(submitted.exp, problems);
  if (!problems.empty()) throw InternalError("[slurm task] the stored exp node is refused: " + problems[0].message);
  results::make_folders(out.trial_dir(plan.trials[0].id));
  ExecuteOptions options;
  options.worker = submitted.worker;
  options.launcher = settings.launcher;
  options.launcher.workers = 1;
  if (options.launcher.threads == 0) options.launcher.threads = settings.launcher.slurm.cpus;
  options.build_id = submitted.build_id;
  options.heartbeat_s = submitted.heartbeat_s;
  options.worker_variables = {{"AQLM_EXP_CACHE_MIB", std::to_string(settings.cache_mib)}};
  options.only = 0;
  const Outcome outcome = execute(plan, out, scan, options);
  if (!outcome.storage_problem.empty()) log_error("{}", outcome.storage_problem);
  return outcome.signal != 0 ? 128 + outcome.signal : static_cast<int>(outcome.exit_code);
}

std::map<std::string, std::string> slurm_queue(const OutFolder& out) {
  std::map<std::string, std::string> trials;
  if (submission_numbers(out).empty()) return trials;
  for (const auto& [task, what] : tasks_of(out, SlurmClient())) trials[what.first] = what.second.state;
  return trials;
}

}  // namespace aqlm_exp::plan
