// A worker that obeys the protocol of framework/plan/worker_protocol.h without doing any work: what it does is told by
// its configuration. Used by the tests of launching, failing and resuming.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/rng.h"
#include "framework/base/sha256.h"
#include "framework/config/reader.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/worker_protocol.h"
#include "framework/results/publish.h"

namespace aqlm_exp::plan {
namespace {

struct Job {
  std::string behaviour;
  double seconds = 0;
  int64_t value = 0;
  int64_t exit_code = 0;
  std::string marker;
};

Job read_job(config::Reader& in) {
  Job job;
  config::Reader keys = in.section("job", {.doc = "what the synthetic trial does"});
  job.behaviour = keys.text("behaviour", {.fallback = "ok", .doc = "how it ends"});
  job.seconds = keys.number("seconds", {.fallback = 0.0, .min = 0.0, .unit = "s", .doc = "how long it takes"});
  job.value = keys.integer("value", {.fallback = 0, .doc = "any number"});
  job.exit_code = keys.integer("exit_code", {.fallback = 0, .min = 0, .max = 255, .doc = "for behaviour: exit"});
  job.marker =
      keys.text("marker", {.fallback = "", .doc = "a file: behaviour once fails until it exists", .identity = false});
  return job;
}

void work(double seconds) {
  const int steps = std::max(1, static_cast<int>(seconds / 0.02));
  for (int i = 0; i < steps; ++i) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds / steps));
    report_progress("work", i + 1, steps);
  }
}

results::TrialRecord record_of(const PlannedTrial& trial, const Job& job) {
  results::TrialRecord record;
  record.id = trial.id;
  record.name = trial.name;
  record.writer = "synthetic worker";
  record.build_id = std::getenv("AQLM_EXP_TEST_BUILD") != nullptr ? std::getenv("AQLM_EXP_TEST_BUILD") : "b1";
  record.config_identity = trial.identity;
  record.config_yaml = to_yaml(trial.tree);
  record.overrides = trial.overrides;
  record.duration_s = job.seconds;
  record.labels = {{"method", job.value == 0 ? "none" : "synthetic"},
                   {"setting", std::to_string(job.value)},
                   {"preset", "test"},
                   {"convention", "synthetic"}};
  Rng rng(static_cast<uint64_t>(job.value));
  const double ppl = job.behaviour == "nan" ? std::nan("") : 10 + rng.uniform();
  record.metrics = {
      {.name = "ppl", .value = ppl, .unit = "", .description = "drawn", .direction = results::Direction::kMin},
      {.name = "bits_per_weight",
       .value = 2.0 + static_cast<double>(job.value % 3),
       .unit = "bit",
       .description = "",
       .direction = results::Direction::kMin},
      {.name = "decode_tokens_per_s",
       .value = static_cast<double>(::getpid()),
       .unit = "1/s",
       .description = "a pid",
       .direction = results::Direction::kMax,
       .deterministic = false}};
  record.samples = {{.name = "draws", .unit = "", .description = "", .values = {rng.uniform(), rng.uniform()}}};
  const char* attempt = std::getenv("AQLM_EXP_ATTEMPT");
  record.attempt = attempt != nullptr ? std::atoll(attempt) : 1;
  record.provenance = {{"pid", static_cast<int64_t>(::getpid())}};
  record.timing = {{"work_s", job.seconds}};
  return record;
}

int run(const std::string& plan_file, const std::string& id, const std::string& attempt_dir) {
  Heartbeat heartbeat(attempt_dir);
  const PlannedTrial trial = load_trial(plan_file, id);
  config::Reader in(trial.tree);
  const Job job = read_job(in);
  const std::filesystem::path results_dir = std::filesystem::path(plan_file).parent_path() / "results";
  std::printf("trial %s starts\n", trial.name.c_str());
  std::fflush(stdout);
  work(job.seconds);
  if (job.behaviour == "exit") {
    std::fprintf(stderr, "line one\nabout to leave with %d\n", static_cast<int>(job.exit_code));
    if (job.exit_code >= 20) {
      write_failure_note(attempt_dir, static_cast<WorkerExit>(job.exit_code), "the synthetic reason");
    }
    std::exit(static_cast<int>(job.exit_code));
  }
  if (job.behaviour == "abort") std::abort();
  if (job.behaviour == "segfault") ::raise(SIGSEGV);
  if (job.behaviour == "killed") ::raise(SIGKILL);
  if (job.behaviour == "hang") {
    ::raise(SIGSTOP);  // no thread beats any more
  }
  if (job.behaviour == "deaf") {
    ::signal(SIGTERM, SIG_IGN);
    std::this_thread::sleep_for(std::chrono::seconds(600));
  }
  if (job.behaviour == "flood") {
    const std::string line(1 << 16, 'x');
    for (int i = 0; i < 100'000; ++i) {
      std::printf("%s\n", line.c_str());
      std::fflush(stdout);
      if (i > 64) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  if (job.behaviour == "grandchild" && ::fork() == 0) {
    ::execlp("sleep", "sleep", "600", nullptr);
    std::_Exit(1);
  }
  if (job.behaviour == "once" && !std::filesystem::exists(job.marker)) {
    std::fclose(std::fopen(job.marker.c_str(), "w"));
    std::abort();
  }
  if (job.behaviour == "no_result") return 0;
  results::TrialRecord record = record_of(trial, job);
  if (job.behaviour == "foreign") {
    record.id = trial.id.substr(0, 16) + std::string(48, '0');
  }
  if (job.behaviour == "memory") {
    for (;;) {  // touches what it maps until somebody stops it
      void* block = ::mmap(nullptr, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (block == MAP_FAILED) throw std::bad_alloc();
      std::memset(block, 1, 8 << 20);
    }
  }
  results::publish(record, results_dir);
  if (job.behaviour == "late_crash") std::abort();
  return 0;
}

}  // namespace
}  // namespace aqlm_exp::plan

int main(int argc, char** argv) {
  using namespace aqlm_exp;
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "describe") {
    std::puts(config::schema_to_json(config::describe([](config::Reader& in) { plan::read_job(in); })).c_str());
    return 0;
  }
  std::string plan_file, id, attempt_dir;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    (flag == "--plan" ? plan_file : flag == "--id" ? id : attempt_dir) = argv[i + 1];
  }
  try {
    return plan::run(plan_file, id, attempt_dir);
  } catch (const std::exception& error) {
    const plan::WorkerExit code = plan::worker_exit_for(error);
    std::fprintf(stderr, "%s\n", error.what());
    plan::write_failure_note(attempt_dir, code, error.what());
    return static_cast<int>(code);
  }
}
