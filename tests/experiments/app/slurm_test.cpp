// The driver on a real Slurm cluster of one host (tests/cluster/one_host_cluster.sh), with the synthetic worker.
#include "framework/plan/slurm.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "framework/base/timer.h"
#include "framework/plan/command.h"
#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/results/publish.h"
#include "tests/experiments/app/driver_process.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using plan::CommandResult;
using plan::run_command;
using testing::HasSubstr;

constexpr const char* kCluster = AQLM_EXP_SOURCE_DIR "/tests/cluster/one_host_cluster.sh";
constexpr double kPatienceS = 240;  // the machine may be busy

class Slurm : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = new TempDir();
    ::setenv("AQLM_EXP_MAX_ARRAY", "5", 1);  // small, so that sweeps have to be split
    ::setenv("SLURM_CONF", (cluster_->path() / "slurm.conf").c_str(), 1);
    const CommandResult started = run_command({kCluster, "start", cluster_->path().string(), "4"}, "", 120);
    if (started.exit_code != 0) reason_ = started.err.empty() ? "it did not start" : started.err;
  }
  static void TearDownTestSuite() {
    run_command({kCluster, "stop", cluster_->path().string()}, "", 60);
    delete cluster_;
  }
  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << "no Slurm cluster here: " << reason_;
  }

  void write_config(const std::string& job, const std::string& params) {
    std::ofstream(dir_.path() / "s.yaml") << "job: " << job << "\nexp:\n  sweep: {params: " << params
                                          << "}\n  launcher: {backoff_s: 0.05, grace_s: 3, slurm: {poll_s: 0.5}}\n";
  }
  std::vector<std::string> command(const std::string& out, const std::string& launcher,
                                   const std::vector<std::string>& more = {}) {
    std::vector<std::string> words = {"run",        "s.yaml", "exp.launcher.type=" + launcher, "-o", out,
                                      "--progress", "plain"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Finished run(const std::vector<std::string>& arguments) { return Driver(dir_.path(), dir_.path(), arguments).wait(); }
  std::map<std::string, std::string> deterministic_parts(const std::string& folder) {
    std::map<std::string, std::string> parts;
    const plan::OutFolder out{dir_.path() / folder};
    for (const plan::PlannedTrial& trial : plan::load_plan(out.plan_file()).trials) {
      parts[trial.id] = results::deterministic_text(results::read_published(out.results_dir(), trial.id));
    }
    return parts;
  }
  json status(const std::string& out) { return json::parse(run({"status", out, "--json"}).out); }
  static std::map<plan::SlurmTask, plan::SlurmTaskState> queue() { return plan::SlurmClient().queue("aqlm-exp-"); }
  /// Waits until some of our tasks runs; returns it.
  static plan::SlurmTask wait_for_running(Driver* driver = nullptr) {
    const Stopwatch watch;
    while (watch.elapsed_s() < kPatienceS && (driver == nullptr || driver->running())) {
      for (const auto& [task, state] : queue()) {
        if (state.state == "RUNNING") return task;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    ADD_FAILURE() << "no task came to run" << (driver != nullptr ? "\n" + driver->err_so_far() : "");
    return {};
  }
  /// Attempt folders of all trials.
  size_t num_attempts(const std::string& out) {
    size_t count = 0;
    for (const auto& trial : fs::directory_iterator(dir_.path() / out / "trials")) {
      for (const auto& entry : fs::directory_iterator(trial.path())) {
        count += entry.path().filename().string().rfind("attempt-", 0) == 0;
      }
    }
    return count;
  }

  TempDir dir_;
  static TempDir* cluster_;
  static std::string reason_;
};
TempDir* Slurm::cluster_ = nullptr;
std::string Slurm::reason_;

TEST_F(Slurm, GivesTheDeterministicResultsOfALocalRunInArraysOfWhatTheControllerAllows) {
  write_config("{behaviour: ok, seconds: 0.1, value: 0}", "{job.value: \"range(12)\"}");
  const Finished local = run(command("local", "local", {"exp.launcher.workers=4"}));
  ASSERT_EQ(local.code, 0) << local.err;
  const Finished slurm = run(command("slurm out", "slurm"));
  ASSERT_EQ(slurm.code, 0) << slurm.err;
  EXPECT_EQ(deterministic_parts("slurm out"), deterministic_parts("local"));
  const fs::path slurm_dir = dir_.path() / "slurm out" / "slurm";
  for (const char* file : {"1.json", "2.json", "3.json"}) EXPECT_TRUE(fs::exists(slurm_dir / file)) << "5 + 5 + 2";
  EXPECT_FALSE(fs::exists(slurm_dir / "4.json"));
  EXPECT_EQ(num_attempts("slurm out"), 12u);
  EXPECT_EQ(run({"verify", "slurm out", "--deep"}).code, 0);
  EXPECT_EQ(json::parse(run(command("slurm out", "slurm", {"--json"})).out)["num_reused"], 12)
      << "nothing is run twice";
  EXPECT_FALSE(fs::exists(slurm_dir / "4.json"));
}

TEST_F(Slurm, FailuresAreTheSameRowsAsLocally) {
  write_config("{behaviour: exit, value: 0, exit_code: 22}",
               "{job.exit_code: \"22,24\", job.behaviour: \"exit,abort\"}");
  const Finished finished = run(command("out", "slurm", {"--json"}));
  EXPECT_EQ(finished.code, 5) << finished.err;
  std::map<std::string, std::string> classes;
  const json document = json::parse(finished.out);
  for (const json& trial : document["trials"]) {
    classes[trial["overrides"].dump()] =
        trial["status"].get<std::string>() + " " + trial["failure"]["class"].get<std::string>();
  }
  EXPECT_EQ(classes.size(), 4u);
  EXPECT_EQ(classes[R"({"job.behaviour":"exit","job.exit_code":22})"], "failed numerical");
  EXPECT_EQ(classes[R"({"job.behaviour":"exit","job.exit_code":24})"], "oom oom_device");
  EXPECT_EQ(classes[R"({"job.behaviour":"abort","job.exit_code":22})"], "failed crashed");
}

TEST_F(Slurm, ACancelledTaskIsARowAndTheNextRunCompletesIt) {
  write_config("{behaviour: ok, seconds: 4, value: 0}", "{job.value: \"range(4)\"}");
  Driver driver(dir_.path(), dir_.path(), command("out", "slurm", {"--json"}));
  const plan::SlurmTask victim = wait_for_running(&driver);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_EQ(run_command({"scancel", victim.str()}).exit_code, 0);
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 5) << finished.err;
  const json document = json::parse(finished.out);
  int completed = 0, cancelled = 0;
  for (const json& trial : document["trials"]) {
    completed += trial["status"] == "completed";
    if (trial["status"] != "cancelled") continue;
    ++cancelled;
    EXPECT_THAT(trial["failure"]["message"].get<std::string>(), HasSubstr(victim.str()));
  }
  EXPECT_EQ(completed, 3);
  EXPECT_EQ(cancelled, 1);
  const Finished again = run(command("out", "slurm", {"--json"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(json::parse(again.out)["num_reused"], 3);
}

TEST_F(Slurm, ARequeuedTaskRunsAgainAndCountsAsNoFailure) {
  write_config("{behaviour: ok, seconds: 3, value: 0}", "{job.value: \"0,1\"}");
  Driver driver(dir_.path(), dir_.path(), command("out", "slurm", {"--json"}));
  const plan::SlurmTask victim = wait_for_running(&driver);
  std::this_thread::sleep_for(std::chrono::milliseconds(800));
  EXPECT_EQ(run_command({"scontrol", "requeue", victim.str()}).exit_code, 0);
  // Slurm lets a requeued job wait for two minutes; an operator can shorten that.
  const Stopwatch watch;
  while (driver.running() && watch.elapsed_s() < kPatienceS) {
    run_command({"scontrol", "update", "jobid=" + victim.str(), "StartTime=now"});
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  const json document = json::parse(finished.out);
  std::multiset<int> attempts;
  for (const json& trial : document["trials"]) attempts.insert(trial["attempt"].get<int>());
  EXPECT_EQ(attempts, (std::multiset<int>{1, 2}));
}

TEST_F(Slurm, ARestartedControllerIsWaitedFor) {
  // The controller writes its state down every five seconds; what happened since is lost with kill -9, and tasks that
  // ended in that time are believed to run for ever. So nothing starts or ends in the eight seconds before it.
  write_config("{behaviour: ok, seconds: 16, value: 0}", "{job.value: \"range(4)\"}");
  Driver driver(dir_.path(), dir_.path(), command("out", "slurm", {"exp.launcher.slurm.max_running=2"}));
  wait_for_running(&driver);
  std::this_thread::sleep_for(std::chrono::seconds(8));
  EXPECT_EQ(run_command({kCluster, "restart", cluster_->path().string()}, "", 120).exit_code, 0);
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(num_attempts("out"), 4u) << "nothing ran twice";
}

TEST_F(Slurm, DetachedTrialsGoOnAloneAndALaterRunCollectsThem) {
  write_config("{behaviour: ok, seconds: 6, value: 0}", "{job.value: \"range(4)\"}");
  const Finished detached = run(command("out", "slurm", {"--detach"}));
  EXPECT_EQ(detached.code, 0) << detached.err;
  EXPECT_THAT(detached.err, HasSubstr("aqlm-exp status out"));
  EXPECT_FALSE(plan::lock_holder({dir_.path() / "out"}).held);
  const json now = status("out");
  for (const json& trial : now["trials"]) {
    EXPECT_THAT(trial["status"].get<std::string>(), testing::AnyOf("queued", "running", "completed"));
  }
  const Finished local = run(command("out", "local"));
  EXPECT_EQ(local.code, 10) << "not run here as well: " << local.err;
  const Finished collected = run(command("out", "slurm"));
  EXPECT_EQ(collected.code, 0) << collected.err;
  EXPECT_EQ(num_attempts("out"), 4u);
  EXPECT_TRUE(fs::exists(dir_.path() / "out/sweep.h5"));
}

TEST_F(Slurm, AKilledDriverLosesNothingAndTheNextTakesItsTasksOver) {
  write_config("{behaviour: ok, seconds: 6, value: 0}", "{job.value: \"range(4)\"}");
  {
    Driver driver(dir_.path(), dir_.path(), command("out", "slurm"));
    wait_for_running(&driver);
    driver.signal(SIGKILL);
    driver.wait();
  }
  const Finished finished = run(command("out", "slurm"));
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("taken over"));
  EXPECT_EQ(num_attempts("out"), 4u);
}

TEST_F(Slurm, CtrlCCancelsWhatWaitsAndSaysHowToGoOn) {
  write_config("{behaviour: ok, seconds: 2, value: 0}", "{job.value: \"range(6)\"}");
  Driver driver(dir_.path(), dir_.path(), command("out", "slurm", {"exp.launcher.slurm.max_running=1"}));
  wait_for_running(&driver);
  driver.signal(SIGINT);
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 130);
  EXPECT_THAT(finished.err, HasSubstr("go on with: aqlm-exp run s.yaml"));
  const Stopwatch watch;
  while (!queue().empty() && watch.elapsed_s() < 30) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_TRUE(queue().empty());
  EXPECT_EQ(run(command("out", "slurm")).code, 0);
}

TEST_F(Slurm, ARefusedSubmissionSaysWhatSlurmSaid) {
  write_config("{behaviour: ok, value: 0}", "{job.value: \"0,1\"}");
  const Finished finished = run(command("out", "slurm", {"exp.launcher.slurm.partition=nowhere"}));
  EXPECT_EQ(finished.code, 10);
  EXPECT_THAT(finished.err, HasSubstr("invalid partition"));
  EXPECT_EQ(run(command("out", "slurm")).code, 0);
}

TEST(SlurmAnswers, AreReadByArrayAndTask) {
  const auto queue = plan::parse_squeue(
      "12 3 RUNNING aqlm-exp-ab-1 None\n12 4 PENDING aqlm-exp-ab-1 (Nodes required for job are DOWN)\n"
      "13 N/A RUNNING other None\n14 0 RUNNING other None\n\n",
      "aqlm-exp-ab-");
  ASSERT_EQ(queue.size(), 2u);
  EXPECT_EQ(queue.at({.array = 12, .task = 4}).state, "PENDING");
  EXPECT_EQ(queue.at({.array = 12, .task = 4}).reason, "(Nodes required for job are DOWN)");
  const auto state = plan::parse_show_job(
      "JobId=20 ArrayJobId=12 ArrayTaskId=2 JobName=x JobState=COMPLETED Reason=None ExitCode=0:0\n"
      "JobId=21 ArrayJobId=12 ArrayTaskId=3 JobName=x JobState=CANCELLED Reason=None ExitCode=0:15\n",
      {.array = 12, .task = 3});
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->state, "CANCELLED");
  EXPECT_EQ(state->signal, 15);
  EXPECT_FALSE(plan::parse_show_job("slurm_load_jobs error", {.array = 1, .task = 1}).has_value());
  plan::SlurmSubmission submission{.job_name = "n", .script = "", .log_file = "l", .num_tasks = 3, .settings = {}};
  submission.settings.max_running = 2;
  submission.settings.partition = "gpu";
  submission.settings.args = {"--exclusive"};
  EXPECT_THAT(plan::sbatch_options(submission),
              testing::IsSupersetOf({"--array=0-2%2", "--partition=gpu", "--exclusive", "--requeue", "--parsable"}));
}

}  // namespace
}  // namespace aqlm_exp::app
