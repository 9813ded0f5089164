// Commands on an output folder: status, logs, verify, merge, gc, repro. The first three need no lock and change
// nothing.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "analysis/text_table.h"
#include "experiments/app/driver_commands.h"
#include "experiments/app/load_dataset.h"
#include "experiments/app/progress_display.h"
#include "experiments/app/worker_program.h"
#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/plan/command.h"
#include "framework/plan/execute.h"
#include "framework/plan/prepare.h"
#include "framework/plan/scan.h"
#include "framework/plan/trial_lock.h"
#include "framework/plan/worker_protocol.h"
#include "framework/results/publish.h"
#include "framework/results/record.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Kind = plan::TrialState::Kind;

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

/// What a trial is doing: its state on disk, and the heartbeat of its last attempt while a driver holds the folder.
struct Shown {
  std::string state;
  std::string detail;
};

Shown shown_state(const plan::PlannedTrial& trial, const plan::TrialState& state, const plan::OutFolder& out, bool held,
                  const std::map<std::string, std::string>& queued) {
  const bool running = state.kind != Kind::kCompleted && plan::trial_is_running(out, trial.id);
  if (running && state.kind == Kind::kDamaged) return {"running", ""};  // between a result and its sidecar
  if (running && state.kind == Kind::kFailed) return {"running", "after " + state.sidecar->failure_class};
  if (const auto task = queued.find(trial.id); task != queued.end() && !running && state.kind != Kind::kCompleted) {
    return {"queued", "Slurm: " + task->second};
  }
  switch (state.kind) {
    case Kind::kCompleted:
      return {"completed", duration_text(state.sidecar->duration_s)};
    case Kind::kFailed:
      return {state.sidecar->status, fmt::format("{}: {}", state.sidecar->failure_class, state.sidecar->message)};
    case Kind::kDamaged:
      return {"damaged", state.damage};
    case Kind::kPlanned:
      break;
  }
  if (state.attempts == 0) return {"planned", ""};
  const auto beat = plan::read_heartbeat(out.attempt_dir(trial.id, state.attempts));
  if (!held && !running) return {"lost", fmt::format("attempt {} ended without a result", state.attempts)};
  if (!beat) return {"running", ""};
  return {"running", beat->stage.empty() ? "" : fmt::format("{} {}/{}", beat->stage, beat->done, beat->total)};
}

int status_once(const plan::OutFolder& out, bool json_wanted) {
  const plan::Plan plan = open_out(out);
  const plan::Scan scan = plan::scan(plan, out, plan::Verify::kSizes);
  const plan::Holder holder = plan::lock_holder(out);
  std::map<std::string, std::string> queued;
  try {
    queued = plan::slurm_queue(out);
  } catch (const Error& error) {
    log_debug("{}", error.what());  // files tell most of it
  }
  if (json_wanted) {
    Json json = {{"out", results::clean_text(out.root.string())},
                 {"driver_active", holder.held},
                 {"driver", holder.description},
                 {"trials", Json::array()}};
    for (size_t i = 0; i < plan.trials.size(); ++i) {
      const Shown shown = shown_state(plan.trials[i], scan.trials[i], out, holder.held, queued);
      json["trials"].push_back({{"id", plan.trials[i].id},
                                {"name", results::clean_text(plan.trials[i].name)},
                                {"status", shown.state},
                                {"detail", results::clean_text(shown.detail)},
                                {"attempts", scan.trials[i].attempts}});
    }
    print(json.dump(2) + "\n");
    return 0;
  }
  analysis::TextTable table({{.title = "id"},
                             {.title = "status", .importance = 5},
                             {.title = "trial", .importance = 4, .shrinks = true},
                             {.title = "", .importance = 3, .shrinks = true}});
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    const Shown shown = shown_state(plan.trials[i], scan.trials[i], out, holder.held, queued);
    table.add_row({plan.trials[i].id.substr(0, 12), shown.state, plan.trials[i].name, shown.detail});
  }
  print(table.str(terminal_width(1), false));
  print(fmt::format("{} of {} completed, {} failed, {} damaged; {}\n", scan.count(Kind::kCompleted), plan.trials.size(),
                    scan.count(Kind::kFailed), scan.count(Kind::kDamaged),
                    holder.held ? "in use by " + holder.description : std::string("no driver is active")));
  return 0;
}

void status(const plan::OutFolder& out, bool json_wanted, bool watch) {
  for (;;) {
    if (watch && ::isatty(1) != 0) print("\x1b[H\x1b[2J");
    status_once(out, json_wanted);
    if (!watch || !plan::lock_holder(out).held) return;
    std::this_thread::sleep_for(std::chrono::seconds(2));
  }
}

/// Copies what a file gained since `offset` to stdout.
void copy_new(const fs::path& file, off_t& offset) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char bytes[65536];
  for (ssize_t got; (got = ::pread(fd, bytes, sizeof bytes, offset)) > 0; offset += got) {
    std::fwrite(bytes, 1, static_cast<size_t>(got), stdout);
  }
  ::close(fd);
  std::fflush(stdout);
}

void logs(const plan::OutFolder& out, const std::string& name, int64_t attempt, bool follow) {
  const plan::Plan plan = open_out(out);
  const plan::PlannedTrial& trial = find_trial(plan, name);
  const plan::TrialState state = plan::trial_state(trial, out, plan::Verify::kSizes);
  if (attempt == 0) attempt = state.attempts;
  const fs::path dir = out.attempt_dir(trial.id, attempt);
  if (attempt == 0 || !fs::is_directory(dir)) {
    throw DataError(fmt::format("{}: trial {} has {} attempt(s); there are no logs to show", out.root.string(),
                                trial.id.substr(0, 12), state.attempts));
  }
  log_info("{}", dir.string());
  off_t out_offset = 0, err_offset = 0;
  for (;;) {
    copy_new(dir / "stdout.log", out_offset);
    copy_new(dir / "stderr.log", err_offset);
    if (!follow) return;
    const plan::TrialState now = plan::trial_state(trial, out, plan::Verify::kSizes);
    const bool ended = now.kind != Kind::kPlanned || now.attempts != attempt || !plan::lock_holder(out).held;
    if (ended) {
      copy_new(dir / "stdout.log", out_offset);
      copy_new(dir / "stderr.log", err_offset);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
}

/// Opens a result in a child with bounded memory and time, so that a damaged file ends the child only.
std::string deep_check(const plan::OutFolder& out, const std::string& id) {
  const pid_t pid = ::fork();
  if (pid < 0) return "fork failed";
  if (pid == 0) {
    const rlimit memory{size_t{4} << 30, size_t{4} << 30}, cpu{60, 60}, none{0, 0};
    ::setrlimit(RLIMIT_AS, &memory);
    ::setrlimit(RLIMIT_CPU, &cpu);
    ::setrlimit(RLIMIT_FSIZE, &none);
    ::setrlimit(RLIMIT_CORE, &none);
    try {
      ::_exit(results::read_published(out.results_dir(), id).id == id ? 0 : 3);
    } catch (...) {
      ::_exit(2);
    }
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) return fmt::format("reading it ended with signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) == 3) return "it holds another trial";
  return WEXITSTATUS(status) == 0 ? "" : "it cannot be read";
}

int verify(const plan::OutFolder& out, bool deep, bool json_wanted) {
  const plan::Plan plan = open_out(out);
  const plan::Scan scan = plan::scan(plan, out, plan::Verify::kHashes);
  Json bad = Json::array();
  int64_t good = 0;
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    std::string problem = scan.trials[i].damage;
    if (scan.trials[i].kind == Kind::kCompleted && deep) problem = deep_check(out, plan.trials[i].id);
    if (!problem.empty()) {
      bad.push_back({{"id", plan.trials[i].id}, {"problem", results::clean_text(problem)}});
    } else if (scan.trials[i].kind == Kind::kCompleted) {
      ++good;
    }
  }
  if (json_wanted) {
    print(Json{{"num_verified", good},
               {"damaged", bad},
               {"num_temporaries", scan.num_temporaries},
               {"unplanned", scan.unplanned}}
              .dump(2) +
          "\n");
  } else {
    for (const Json& item : bad) {
      print(fmt::format("damaged  {}  {}\n", item["id"].get<std::string>().substr(0, 12),
                        analysis::printable(item["problem"].get<std::string>())));
    }
    print(fmt::format("{} result(s) verified{}, {} damaged, {} unfinished file(s), {} not in the plan\n", good,
                      deep ? " and read" : "", bad.size(), scan.num_temporaries, scan.unplanned.size()));
    if (!bad.empty()) log_error("`aqlm-exp run` with the same arguments sets damaged results aside and repeats them");
  }
  return bad.empty() ? 0 : static_cast<int>(ExitCode::kStorage);
}

uint64_t size_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
  uint64_t sum = 0;
  for (fs::recursive_directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->is_regular_file(error)) sum += it->file_size(error);
  }
  return sum;
}

int gc(const plan::OutFolder& out, bool yes) {
  const plan::Plan plan = open_out(out);
  std::unique_ptr<plan::FolderLock> lock;
  if (yes) lock = std::make_unique<plan::FolderLock>(out, "gc");
  const plan::Scan scan = plan::scan(plan, out, plan::Verify::kSizes);
  for (const plan::PlannedTrial& trial : plan.trials) {
    if (!yes || !plan::trial_is_running(out, trial.id)) continue;
    throw plan::LockedError(fmt::format("{}: trial {} is being run; nothing is removed before it ends",
                                        out.root.string(), trial.id.substr(0, 12)));
  }
  std::vector<fs::path> unneeded;
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    const plan::TrialState& state = scan.trials[i];
    if (state.kind != Kind::kCompleted) continue;
    for (int64_t attempt = 1; attempt <= state.attempts; ++attempt) {
      const fs::path dir = out.attempt_dir(plan.trials[i].id, attempt);
      if (attempt != state.sidecar->attempt && fs::is_directory(dir)) unneeded.push_back(dir);
    }
    const fs::path checkpoint = out.trial_dir(plan.trials[i].id) / "checkpoint";
    if (fs::is_directory(checkpoint)) unneeded.push_back(checkpoint);
  }
  for (const fs::path& folder : {out.quarantine_dir(), out.root / "cache"}) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      unneeded.push_back(it->path());
  }
  uint64_t total = 0;
  for (const fs::path& path : unneeded) {
    const uint64_t bytes = size_of(path);
    total += bytes;
    print(fmt::format("{:>12}  {}\n", bytes, analysis::printable(path.string())));
    std::error_code error;
    if (yes) fs::remove_all(path, error);
    if (error) log_warning("{}: {}", path.string(), error.message());
  }
  print(fmt::format("{} bytes in {} item(s) {}\n", total, unneeded.size(),
                    yes ? "removed" : "could be removed with --yes"));
  return 0;
}

/// Becomes that command of this program.
[[noreturn]] void run_words(const std::vector<std::string>& words) {
  const fs::path program = program_file();
  std::vector<std::string> copies = words;
  std::vector<char*> argv;
  for (std::string& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  throw Error(ExitCode::kLauncher, "L-EXEC", fmt::format("start {}: {}", program.string(), std::strerror(errno)));
}

}  // namespace

void add_folder_commands(CLI::App& app, int& exit_code) {
  struct Arguments {
    std::string out, trial;
    bool json = false, watch = false, follow = false, deep = false, yes = false;
    int64_t attempt = 0;
  };
  const auto add = [&](const char* name, const char* doc) {
    auto arguments = std::make_shared<Arguments>();
    CLI::App* command = app.add_subcommand(name, doc);
    command->add_option("OUT", arguments->out, "output folder of a sweep")->required();
    return std::make_pair(command, arguments);
  };
  {
    auto [command, arguments] = add("status", "what each trial of a sweep is doing; also while it runs");
    command->add_flag("--json", arguments->json, "one JSON document");
    command->add_flag("--watch", arguments->watch, "again every 2 s until the driver ends");
    command->callback([arguments = arguments] { status({arguments->out}, arguments->json, arguments->watch); });
  }
  {
    auto [command, arguments] = add("logs", "what a trial wrote to stdout and stderr");
    command->add_option("TRIAL", arguments->trial, "prefix of an id, or a name")->required();
    command->add_option("--attempt", arguments->attempt, "attempt [the last]")->check(CLI::PositiveNumber);
    command->add_flag("-f,--follow", arguments->follow, "go on until the trial ends");
    command->callback(
        [arguments = arguments] { logs({arguments->out}, arguments->trial, arguments->attempt, arguments->follow); });
  }
  {
    auto [command, arguments] = add("verify", "compare every result with its hash");
    command->add_flag("--deep", arguments->deep, "read every result too, each in a process of its own");
    command->add_flag("--json", arguments->json, "one JSON document");
    command->callback([arguments = arguments, &exit_code] {
      exit_code = verify({arguments->out}, arguments->deep, arguments->json);
    });
  }
  {
    auto [command, arguments] = add("merge", "rebuild sweep.h5 from the results");
    command->callback([arguments = arguments] {
      const plan::OutFolder out{arguments->out};
      merge_out(out, open_out(out));
      print(fmt::format("{}\n", out.merged_file().string()));
    });
  }
  {
    auto [command, arguments] = add("gc", "list what is not needed: attempts that were repeated, quarantine, cache");
    command->add_flag("--yes", arguments->yes, "remove it");
    command->callback([arguments = arguments, &exit_code] { exit_code = gc({arguments->out}, arguments->yes); });
  }
  {
    auto [command, arguments] = add("repro", "the command that gives one trial of a sweep again");
    command->add_option("TRIAL", arguments->trial, "prefix of an id, or a name")->required();
    command->add_flag("--run", arguments->yes, "run it here, into ./repro-<id>");
    command->callback([arguments = arguments] {
      const plan::Plan plan = open_out({arguments->out});
      const std::vector<std::string> words = repro_words(plan, find_trial(plan, arguments->trial));
      if (arguments->yes) run_words(words);
      print(plan::shell_command(words) + "\n");
    });
  }
}

}  // namespace aqlm_exp::app
