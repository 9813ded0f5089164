#include "framework/plan/execute.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "framework/base/log.h"
#include "framework/plan/device_pool.h"
#include "framework/plan/run_book.h"
#include "framework/plan/signal_inbox.h"
#include "framework/plan/trial_lock.h"
#include "framework/results/record.h"

namespace aqlm_exp::plan {
namespace {

constexpr int kTickMs = 250;         // ended workers and signals wake it at once
constexpr double kSilentBeats = 10;  // heartbeats missed before a worker counts as hung
constexpr double kMaxBackoffS = 600;
constexpr double kLockedDelayS = 2;  // before another look at a trial that another process runs
constexpr size_t kTailLines = 50;

struct Worker {
  RunningTrial shown;
  std::optional<TrialLock> lock;
  double silent_s = 0;  // since the heartbeat's counter changed
  std::string killed_for, detail;
  double since_term_s = 0;
  int device = -1;
  int64_t oom_kills_before = 0;
};

uint64_t size_of(const std::filesystem::path& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

class Executor {
 public:
  Executor(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options,
           results::FileSystem& files)
      : out_(out),
        scan_(scan),
        options_(options),
        files_(files),
        book_(plan, out, scan, options, files,
              fmt::format("no further trial starts; running ones have {:.0f} s to finish, a second signal kills them",
                          options.launcher.grace_s)),
        devices_(options.launcher.devices) {
    for (const size_t index : book_.open_trials()) queue_.push_back({.index = index});
  }

  Outcome run() {
    become_subreaper();
    SignalInbox inbox;
    book_.journal.write("run.started", {{"trials", std::to_string(progress().num_trials)},
                                        {"reused", std::to_string(progress().num_reused)},
                                        {"pid", std::to_string(::getpid())}});
    book_.start();
    for (;;) {
      for (int number : inbox.take()) book_.interrupt(number);
      const double charged_s = book_.charge();
      for (Waiting& waiting : queue_) waiting.delay_s = std::max(0.0, waiting.delay_s - charged_s);
      watch(charged_s);
      reap();
      while (start_next()) {
      }
      show();
      if (workers_.empty() && (book_.stopping() || queue_.empty())) break;
      inbox.wait(kTickMs);
    }
    if (!options_.only) remove_temporaries(out_, files_);
    return book_.finish();
  }

 private:
  struct Waiting {
    size_t index = 0;
    int64_t repeats = 0;  // so far, in this run
    double delay_s = 0;
  };

  const PlannedTrial& trial(size_t index) const { return book_.trial(index); }
  Progress& progress() { return book_.outcome.progress; }

  /// Starts one trial if there is one to start and room for it.
  bool start_next() {
    if (book_.stopping() || workers_.size() >= static_cast<size_t>(options_.launcher.workers)) return false;
    const auto next = std::find_if(queue_.begin(), queue_.end(), [](const Waiting& w) { return w.delay_s <= 0; });
    if (next == queue_.end()) return false;
    int device = -1;
    try {
      if (devices_.limits()) {
        device = devices_.acquire();
        if (device < 0) {
          if (workers_.empty() && !told_waiting_) {
            told_waiting_ = true;
            log_info("all devices of exp.launcher.devices are in use by other sweeps; waiting");
          }
          return false;
        }
      }
      Waiting chosen = *next;
      queue_.erase(next);
      const PlannedTrial& planned = trial(chosen.index);
      results::make_folders(out_.trial_dir(planned.id), files_);
      auto lock = TrialLock::take(out_, planned.id);
      if (!lock) {  // a task of an earlier submission that still runs, on some host
        if (device >= 0) devices_.release(device);
        if (waited_for_.insert(chosen.index).second) {
          log_info("{} is being run by another process; waiting for it", planned.id.substr(0, 12));
        }
        chosen.delay_s = kLockedDelayS;
        queue_.push_back(chosen);
        return true;
      }
      if (take_over(chosen.index)) {
        if (device >= 0) devices_.release(device);
        return true;
      }
      start(chosen, device, std::move(*lock));
    } catch (const StorageError& error) {
      if (device >= 0) devices_.release(device);
      book_.storage_failed(error.what());
    }
    return true;
  }

  /// Whether another process completed the trial before we got its lock.
  bool take_over(size_t index) {
    if (!options_.only && waited_for_.count(index) == 0) return false;
    const TrialState state = trial_state(trial(index), out_, Verify::kHashes);
    if (state.kind != TrialState::Kind::kCompleted) {
      scan_.trials[index].attempts = state.attempts;
      return false;
    }
    scan_.trials[index] = state;
    ++progress().num_completed;
    options_.on_event({.kind = Event::Kind::kCompleted,
                       .index = index,
                       .attempt = state.sidecar->attempt,
                       .duration_s = state.sidecar->duration_s,
                       .verdict = {.status = "completed"}});
    return true;
  }

  void start(const Waiting& waiting, int device, TrialLock lock) {
    const PlannedTrial& planned = trial(waiting.index);
    int64_t& attempt = scan_.trials[waiting.index].attempts;
    std::filesystem::path attempt_dir;
    for (;;) {  // an attempt is claimed by making its folder
      attempt_dir = out_.attempt_dir(planned.id, ++attempt);
      if (files_.mkdir(attempt_dir.string(), 0777) == 0) break;
      if (errno != EEXIST) throw StorageError(results::describe_io_failure("make folder", attempt_dir, errno), "R-IO");
    }
    const int64_t threads = options_.launcher.threads > 0
                                ? options_.launcher.threads
                                : std::max<int64_t>(1, available_cores() / options_.launcher.workers);
    std::vector<std::pair<std::string, std::string>> set = {
        {"OMP_NUM_THREADS", std::to_string(threads)},
        {"MKL_NUM_THREADS", std::to_string(threads)},
        {"OPENBLAS_NUM_THREADS", std::to_string(threads)},
        {"AQLM_EXP_THREADS", std::to_string(threads)},
        {"AQLM_EXP_HEARTBEAT_S", fmt::format("{}", options_.heartbeat_s)},
        {"AQLM_EXP_ATTEMPT", std::to_string(attempt)}};
    // Where workers of two sweeps share cores, OpenMP threads that spin for the next piece of work keep it from coming:
    // AQLM on 4 samples took 102 s (64 s of CPU time) beside two others, and 42 s (19 s) with this.
    if (std::getenv("GOMP_SPINCOUNT") == nullptr) set.emplace_back("GOMP_SPINCOUNT", "2000");
    set.insert(set.end(), options_.worker_variables.begin(), options_.worker_variables.end());
    if (device >= 0) set.emplace_back("CUDA_VISIBLE_DEVICES", devices_.name(device));
    SpawnRequest request;
    request.arguments = {options_.worker.string()};
    request.arguments.insert(request.arguments.end(), options_.worker_arguments.begin(),
                             options_.worker_arguments.end());
    for (const std::string& text :
         {std::string("run"), std::string("--plan"), out_.plan_file().string(), std::string("--id"), planned.id,
          std::string("--attempt-dir"), attempt_dir.string()}) {
      request.arguments.push_back(text);
    }
    request.environment = worker_environment(options_.launcher.env, set);
    request.stdout_file = attempt_dir / "stdout.log";
    request.stderr_file = attempt_dir / "stderr.log";
    Worker worker;
    worker.shown.index = waiting.index;
    worker.shown.attempt = attempt;
    worker.device = device;
    worker.lock.emplace(std::move(lock));
    worker.oom_kills_before = oom_kill_count();
    worker.shown.pid = spawn(request);
    repeats_[waiting.index] = waiting.repeats;
    book_.journal.write("trial.started", {{"id", planned.id},
                                          {"attempt", std::to_string(attempt)},
                                          {"pid", std::to_string(worker.shown.pid)},
                                          {"name", planned.name}});
    options_.on_event({.kind = Event::Kind::kStarted, .index = waiting.index, .attempt = attempt});
    workers_.push_back(std::move(worker));
  }

  void end_worker(Worker& worker, const std::string& reason, std::string detail) {
    if (!worker.killed_for.empty()) return;
    worker.killed_for = reason;
    worker.detail = std::move(detail);
    ::kill(-worker.shown.pid, SIGTERM);
    ::kill(-worker.shown.pid, SIGCONT);  // a stopped process sees SIGTERM only once it runs
  }

  void watch(double charged_s) {
    const LauncherSettings& settings = options_.launcher;
    for (Worker& worker : workers_) {
      worker.shown.elapsed_s += charged_s;
      worker.silent_s += charged_s;
      const std::filesystem::path dir = out_.attempt_dir(trial(worker.shown.index).id, worker.shown.attempt);
      if (const auto beat = read_heartbeat(dir); beat && beat->counter != worker.shown.beat.counter) {
        worker.shown.beat = *beat;
        worker.silent_s = 0;
      }
      if (settings.timeout_s > 0 && worker.shown.elapsed_s > settings.timeout_s) {
        end_worker(worker, "timed_out",
                   fmt::format("no end after {:.1f} s; raise exp.launcher.timeout_s", worker.shown.elapsed_s));
      }
      if (worker.silent_s > kSilentBeats * options_.heartbeat_s) {
        end_worker(worker, "hung", fmt::format("no heartbeat for {:.1f} s", worker.silent_s));
      }
      const uint64_t log_bytes = size_of(dir / "stdout.log") + size_of(dir / "stderr.log");
      if (static_cast<double>(log_bytes) > settings.log_limit_mib * 1024 * 1024) {
        end_worker(worker, "log_flood",
                   fmt::format("wrote {} bytes of output, the limit is {} MiB (exp.launcher.log_limit_mib)", log_bytes,
                               settings.log_limit_mib));
      }
      if (book_.out_of_patience()) {
        end_worker(worker, "cancelled", "");
        ::kill(-worker.shown.pid, SIGKILL);
      }
      if (!worker.killed_for.empty()) {
        worker.since_term_s += charged_s;
        if (worker.since_term_s > settings.grace_s) ::kill(-worker.shown.pid, SIGKILL);
      }
    }
  }

  void reap() {
    for (;;) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid <= 0) return;
      const auto found =
          std::find_if(workers_.begin(), workers_.end(), [&](const Worker& w) { return w.shown.pid == pid; });
      if (found == workers_.end()) continue;  // an orphan of some worker
      Worker worker = std::move(*found);
      workers_.erase(found);
      ::kill(-pid, SIGKILL);  // whatever the worker left running
      ended(worker, status);
    }
  }

  void ended(const Worker& worker, int status) {
    const size_t index = worker.shown.index;
    const PlannedTrial& planned = trial(index);
    const std::filesystem::path dir = out_.attempt_dir(planned.id, worker.shown.attempt);
    Ending ending;
    ending.wait_status = status;
    ending.killed_for = worker.killed_for;
    ending.detail = worker.detail;
    ending.oom_killer_acted = oom_kill_count() > worker.oom_kills_before;
    ending.note = read_failure_note(dir);
    const TrialState state = trial_state(planned, out_, Verify::kHashes);
    ending.has_result = state.kind == TrialState::Kind::kCompleted;
    ending.result_problem = state.damage.empty() ? "nothing was published" : state.damage;
    Verdict verdict = judge(ending);
    if (options_.only && verdict.signal == SIGTERM && verdict.failure_class == "crashed") {
      verdict = {
          .status = "cancelled", .failure_class = "cancelled", .message = "ended from outside", .signal = SIGTERM};
    }
    if (worker.device >= 0) judge_device(worker.device, verdict.failure_class == "device");
    Event event{
        .index = index, .attempt = worker.shown.attempt, .duration_s = worker.shown.elapsed_s, .verdict = verdict};
    book_.journal.write("trial.ended", {{"id", planned.id},
                                        {"attempt", std::to_string(worker.shown.attempt)},
                                        {"status", verdict.status},
                                        {"class", verdict.failure_class},
                                        {"duration_s", fmt::format("{:.3f}", worker.shown.elapsed_s)},
                                        {"message", verdict.message}});
    // A worker killed between publishing and exiting has done its work.
    if (verdict.status == "completed" || ending.has_result) {
      scan_.trials[index] = state;
      book_.completed(worker.shown.elapsed_s);
      event.kind = Event::Kind::kCompleted;
      event.verdict.status = "completed";
      options_.on_event(event);
      if (!options_.only && !options_.build_id.empty() && state.sidecar->build_id != options_.build_id &&
          !told_build_) {
        told_build_ = true;
        log_warning("mixed builds: results are now made by {}, this driver is {}; the programs were rebuilt meanwhile",
                    state.sidecar->build_id, options_.build_id);
      }
      return;
    }
    if (state.kind == TrialState::Kind::kDamaged) {
      try {  // half of a publication: it would keep the next attempt from publishing
        quarantine(planned, out_, files_);
      } catch (const StorageError& error) {
        book_.storage_failed(error.what());
        return;
      }
    }
    if (verdict.stops_sweep) {
      book_.storage_failed(fmt::format("trial {}: {}; {}", planned.id.substr(0, 12), verdict.message,
                                       results::free_space_text(out_.root)));
      return;
    }
    if (verdict.status == "cancelled") {
      event.kind = Event::Kind::kCancelled;
      options_.on_event(event);
      return;
    }
    const int64_t repeats = repeats_[index];
    const int64_t allowed = options_.launcher.retries >= 0 ? options_.launcher.retries : verdict.default_retries;
    if (repeats < allowed && !book_.stopping()) {
      const double delay_s = std::min(
          kMaxBackoffS, options_.launcher.backoff_s * static_cast<double>(1ll << std::min<int64_t>(repeats, 20)));
      queue_.push_front({.index = index, .repeats = repeats + 1, .delay_s = delay_s});
      event.kind = Event::Kind::kRetry;
      event.detail = fmt::format("again in {:.0f} s ({} of {})", delay_s, repeats + 1, allowed);
      options_.on_event(event);
      return;
    }
    failed(worker, verdict, event);
  }

  void judge_device(int device, bool failed) {
    if (devices_.report(device, failed)) {
      log_warning("device {} failed twice in a row; it gets no further trial of this run", devices_.name(device));
      book_.journal.write("device.quarantined", {{"device", devices_.name(device)}});
    }
    devices_.release(device);
    if (devices_.exhausted()) {
      book_.stop_for_failures(
          "every device of exp.launcher.devices failed twice in a row; see nvidia-smi and the kernel's log");
    }
  }

  void failed(const Worker& worker, const Verdict& verdict, Event event) {
    const PlannedTrial& planned = trial(worker.shown.index);
    results::Sidecar sidecar = book_.failure_of(worker.shown.index, verdict, worker.shown.attempt);
    sidecar.duration_s = worker.shown.elapsed_s;
    sidecar.log_tail = tail_of(out_.attempt_dir(planned.id, worker.shown.attempt) / "stderr.log", kTailLines);
    if (sidecar.log_tail.empty()) {
      sidecar.log_tail = tail_of(out_.attempt_dir(planned.id, worker.shown.attempt) / "stdout.log", kTailLines);
    }
    ++progress().num_failed;
    event.kind = Event::Kind::kFailed;
    options_.on_event(event);
    book_.publish_failure(worker.shown.index, sidecar);
    book_.check_failures();
  }

  void show() {
    progress().running.clear();
    for (const Worker& worker : workers_) progress().running.push_back(worker.shown);
    book_.show();
  }

  const OutFolder& out_;
  Scan& scan_;
  const ExecuteOptions& options_;
  results::FileSystem& files_;
  RunBook book_;
  DevicePool devices_;
  std::deque<Waiting> queue_;
  std::vector<Worker> workers_;
  std::map<size_t, int64_t> repeats_;
  std::set<size_t> waited_for_;
  bool told_waiting_ = false, told_build_ = false;
};

}  // namespace

int64_t available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max<long>(1, ::sysconf(_SC_NPROCESSORS_ONLN));
}

Outcome execute(const Plan& plan, const OutFolder& out, Scan& scan, const ExecuteOptions& options,
                results::FileSystem& files) {
  return Executor(plan, out, scan, options, files).run();
}

}  // namespace aqlm_exp::plan
