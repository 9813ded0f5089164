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
#include "framework/plan/command.h"
#include "framework/plan/execute.h"
#include "framework/plan/run_book.h"
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
      : out_(out),
        scan_(scan),
        options_(options),
        run_(run),
        files_(files),
        book_(plan, out, scan, options, files,
              fmt::format("waiting tasks are cancelled, running ones have {:.0f} s to finish, a second signal cancels "
                          "them",
                          options.launcher.grace_s)) {
    book_.on_stop = [this] { cancel(/*pending_only=*/true); };
    for (size_t i = 0; i < plan.trials.size(); ++i) index_of_[plan.trials[i].id] = i;
    for (const size_t index : book_.open_trials()) open_[index] = {.attempts_before = scan.trials[index].attempts};
  }

  Outcome run() {
    max_array_ = client_.max_array_tasks();
    SignalInbox inbox;
    attach();
    submit_open();
    if (run_.detach) {
      book_.journal.write("run.detached", {{"submitted", std::to_string(open_.size())}});
      return std::move(book_.outcome);
    }
    book_.start();
    Stopwatch since_results, since_queue;
    bool look_now = true;
    while (!open_.empty()) {
      for (int number : inbox.take()) book_.interrupt(number);
      const double charged_s = book_.charge();
      for (auto& [index, task] : open_) {
        if (task.running) task.running_s += charged_s;
      }
      if (book_.out_of_patience()) cancel(/*pending_only=*/false);
      if (since_results.elapsed_s() >= kResultsEveryS) {
        since_results.restart();
        collect_results();
      }
      const double poll_s =
          book_.stopping() ? std::min(1.0, options_.launcher.slurm.poll_s) : options_.launcher.slurm.poll_s;
      if (look_now || since_queue.elapsed_s() >= poll_s) {
        look_now = false;
        look_at_queue();
        since_queue.restart();
      }
      show();
      if (!open_.empty()) inbox.wait(kTickMs);
    }
    return book_.finish();
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

  const PlannedTrial& trial(size_t index) const { return book_.trial(index); }

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
                                    shell_quoted(run_.program.string()), shell_quoted(root.string()), number);
    const int64_t array = client_.submit(submission);
    for (size_t i = 0; i < indices.size(); ++i) {
      Task& task = open_.at(indices[i]);
      task.task = SlurmTask{.array = array, .task = static_cast<int64_t>(i)};
      task.running = false;
      task.looks_missing = 0;
    }
    book_.journal.write("slurm.submitted", {{"array", std::to_string(array)},
                                            {"submission", std::to_string(number)},
                                            {"trials", std::to_string(indices.size())}});
    log_info("submitted {} trial(s) as Slurm array {}", indices.size(), array);
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
      book_.completed(state.sidecar->duration_s);
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
    book_.journal.write("trial.ended", {{"id", trial(index).id},
                                        {"task", open_.at(index).task ? open_.at(index).task->str() : ""},
                                        {"status", verdict.status},
                                        {"class", verdict.failure_class},
                                        {"message", verdict.message}});
    open_.erase(index);
    options_.on_event(
        {.kind = kind, .index = index, .attempt = attempt, .duration_s = duration_s, .verdict = std::move(verdict)});
  }

  void failed(size_t index, Verdict verdict) {
    ++book_.outcome.progress.num_failed;
    close(index, Event::Kind::kFailed, std::move(verdict), 0);
    book_.check_failures();
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
    if (!again.empty() && !book_.stopping()) submit_open();
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
    if (book_.stopping()) {
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
      const std::string problem =
          fmt::format("trial {}: {}; {}", planned.id.substr(0, 12),
                      tail.empty() ? "its task could not write" : tail.back(), results::free_space_text(out_.root));
      close(index, Event::Kind::kCancelled, {.status = "cancelled", .failure_class = "storage"}, 0);
      book_.storage_failed(problem);
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
    results::Sidecar sidecar = book_.failure_of(index, verdict, std::max<int64_t>(1, now.attempts));
    if (now.attempts > 0)
      sidecar.log_tail = tail_of(out_.attempt_dir(planned.id, now.attempts) / "stderr.log", kTailLines);
    book_.publish_failure(index, sidecar);
    failed(index, verdict);
  }

  void show() {
    std::vector<RunningTrial>& running = book_.outcome.progress.running;
    running.clear();
    for (auto& [index, task] : open_) {
      if (!task.running) continue;
      RunningTrial shown{.index = index, .attempt = task.attempts_before + 1, .elapsed_s = task.running_s};
      while (fs::exists(out_.attempt_dir(trial(index).id, shown.attempt + 1))) ++shown.attempt;  // requeued
      if (const auto beat = read_heartbeat(out_.attempt_dir(trial(index).id, shown.attempt))) shown.beat = *beat;
      running.push_back(std::move(shown));
    }
    book_.show();
  }

  const OutFolder& out_;
  Scan& scan_;
  const ExecuteOptions& options_;
  const SlurmRun& run_;
  results::FileSystem& files_;
  RunBook book_;
  SlurmClient client_;
  int64_t max_array_ = 1;
  std::map<std::string, size_t> index_of_;
  std::map<size_t, Task> open_;  // trials without a result, in plan order
  bool cancelled_all_ = false, silent_ = false;
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
