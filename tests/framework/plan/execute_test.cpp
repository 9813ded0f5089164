// The failure matrix of launching: every way a worker can end, and what becomes of its trial and of the others.
#include "framework/plan/execute.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <thread>

#include "framework/base/timer.h"
#include "framework/plan/trial_lock.h"
#include "framework/results/publish.h"
#include "tests/framework/plan/synthetic_plan.h"
#include "tests/framework/results/sample_record.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::plan {
namespace {

using Kind = TrialState::Kind;

class Sweep : public testing::Test {
 protected:
  Outcome run(const Plan& plan, ExecuteOptions options = quick_options()) {
    Prepared prepared = prepare(plan, out_, {});
    notes_ = prepared.notes;
    const Outcome outcome = execute(prepared.plan, out_, prepared.scan, options);
    scan_ = scan(prepared.plan, out_, Verify::kHashes);
    return outcome;
  }
  const results::Sidecar& sidecar(size_t index) const { return scan_.trials.at(index).sidecar.value(); }

  TempDir dir_;
  OutFolder out_{dir_.path() / "out with blank"};
  Scan scan_;
  std::vector<std::string> notes_;
};

TEST_F(Sweep, AllTrialsComplete) {
  const Outcome outcome = run(synthetic_plan({"{}", "{}", "{}", "{}"}));
  EXPECT_EQ(outcome.exit_code, ExitCode::kOk);
  EXPECT_EQ(outcome.progress.num_completed, 4u);
  EXPECT_EQ(scan_.count(Kind::kCompleted), 4);
  EXPECT_EQ(scan_.num_temporaries, 0);
}

TEST_F(Sweep, SecondRunReusesEverything) {
  const Plan plan = synthetic_plan({"{}", "{}"});
  run(plan);
  const Outcome outcome = run(plan);
  EXPECT_EQ(outcome.progress.num_reused, 2u);
  EXPECT_EQ(scan_.trials[0].attempts, 1);
}

TEST_F(Sweep, DocumentedFailuresAreRowsWithReasonsAndOthersGoOn) {
  const Outcome outcome =
      run(synthetic_plan({R"({"behaviour":"exit","exit_code":22})", "{}", R"({"behaviour":"exit","exit_code":24})",
                          R"({"behaviour":"exit","exit_code":23})"}));
  EXPECT_EQ(outcome.exit_code, ExitCode::kFailedTrials);
  EXPECT_EQ(scan_.trials[1].kind, Kind::kCompleted);
  EXPECT_EQ(sidecar(0).status, "failed");
  EXPECT_EQ(sidecar(0).failure_class, "numerical");
  EXPECT_EQ(sidecar(0).message, "the synthetic reason");
  EXPECT_EQ(sidecar(0).exit_code, 22);
  EXPECT_THAT(sidecar(0).log_tail, testing::ElementsAre("line one", "about to leave with 22"));
  EXPECT_EQ(sidecar(2).status, "oom");
  EXPECT_EQ(sidecar(2).failure_class, "oom_device");
  EXPECT_EQ(sidecar(3).failure_class, "oom_host");
  EXPECT_EQ(scan_.trials[0].attempts, 1) << "a documented failure is not repeated";
}

TEST_F(Sweep, CrashesAreRepeatedOnceThenRecorded) {
  const Outcome outcome = run(synthetic_plan(
      {R"({"behaviour":"segfault"})", R"({"behaviour":"abort"})", R"({"behaviour":"exit","exit_code":3})"}));
  EXPECT_EQ(outcome.exit_code, ExitCode::kFailedTrials);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sidecar(i).failure_class, "crashed") << i;
    EXPECT_EQ(scan_.trials[i].attempts, 2) << i;
  }
#ifndef __SANITIZE_ADDRESS__  // which turns the signal into an exit
  EXPECT_EQ(sidecar(0).signal, SIGSEGV);
#endif
  EXPECT_EQ(sidecar(1).signal, SIGABRT);
}

TEST_F(Sweep, ACrashThatGoesAwayEndsWell) {
  const std::string marker = (dir_.path() / "marker").string();
  const Outcome outcome = run(synthetic_plan({R"({"behaviour":"once","marker":")" + marker + "\"}"}));
  EXPECT_EQ(outcome.exit_code, ExitCode::kOk);
  EXPECT_EQ(scan_.trials[0].attempts, 2);
}

TEST_F(Sweep, ALaterRunTakesUpFailedTrialsUnlessAskedNotTo) {
  const Plan plan = synthetic_plan({R"({"behaviour":"exit","exit_code":22})"});
  run(plan);
  ExecuteOptions options = quick_options();
  options.keep_failed = true;
  EXPECT_EQ(run(plan, options).exit_code, ExitCode::kFailedTrials);
  EXPECT_EQ(scan_.trials[0].attempts, 1);
  run(plan);
  EXPECT_EQ(scan_.trials[0].attempts, 2);
}

TEST_F(Sweep, RetriesCanBeSet) {
  ExecuteOptions options = quick_options();
  options.launcher.retries = 2;
  options.launcher.backoff_s = 0.01;
  run(synthetic_plan({R"({"behaviour":"exit","exit_code":22})"}), options);
  EXPECT_EQ(scan_.trials[0].attempts, 3);
}

TEST_F(Sweep, TimeOutEndsAlsoAWorkerDeafToSigterm) {
  ExecuteOptions options = quick_options();
  options.launcher.timeout_s = 0.4;
  options.launcher.grace_s = 0.2;
  const Outcome outcome = run(synthetic_plan({R"({"behaviour":"deaf"})", "{}"}), options);
  EXPECT_EQ(outcome.exit_code, ExitCode::kFailedTrials);
  EXPECT_EQ(sidecar(0).status, "timed_out");
  EXPECT_EQ(sidecar(0).signal, SIGKILL);
  EXPECT_EQ(scan_.trials[0].attempts, 1);
  EXPECT_EQ(scan_.trials[1].kind, Kind::kCompleted);
}

TEST_F(Sweep, ASilentWorkerCountsAsHung) {
  ExecuteOptions options = quick_options();
  options.heartbeat_s = 0.05;
  options.launcher.retries = 0;
  run(synthetic_plan({R"({"behaviour":"hang"})"}), options);
  EXPECT_EQ(sidecar(0).failure_class, "hung");
}

TEST_F(Sweep, AFloodOfOutputIsStopped) {
  ExecuteOptions options = quick_options();
  options.launcher.log_limit_mib = 1;
  run(synthetic_plan({R"({"behaviour":"flood"})"}), options);
  EXPECT_EQ(sidecar(0).failure_class, "log_flood");
  EXPECT_LT(std::filesystem::file_size(out_.attempt_dir(sidecar(0).id, 1) / "stdout.log"), 32u << 20);
}

TEST_F(Sweep, ExitWithoutResultAndForeignResultsAreFailures) {
  const Outcome outcome = run(synthetic_plan({R"({"behaviour":"no_result"})", R"({"behaviour":"foreign"})"}));
  EXPECT_EQ(outcome.exit_code, ExitCode::kFailedTrials);
  EXPECT_EQ(sidecar(0).failure_class, "no_result");
  EXPECT_EQ(sidecar(1).failure_class, "protocol");
}

TEST_F(Sweep, NanIsStored) {
  const Plan plan = synthetic_plan({R"({"behaviour":"nan"})"});
  EXPECT_EQ(run(plan).exit_code, ExitCode::kOk);
  EXPECT_TRUE(std::isnan(results::read_published(out_.results_dir(), plan.trials[0].id).find_metric("ppl")->value));
}

TEST_F(Sweep, ACrashAfterPublishingLosesNothing) {
  EXPECT_EQ(run(synthetic_plan({R"({"behaviour":"late_crash"})"})).exit_code, ExitCode::kOk);
  EXPECT_EQ(scan_.trials[0].attempts, 1);
}

TEST_F(Sweep, FailFastStops) {
  ExecuteOptions options = quick_options();
  options.fail_fast = 1;
  options.launcher.workers = 1;
  const Outcome outcome = run(synthetic_plan({R"({"behaviour":"exit","exit_code":22})", "{}", "{}"}), options);
  EXPECT_EQ(outcome.exit_code, ExitCode::kStopped);
  EXPECT_EQ(scan_.count(Kind::kPlanned), 2);
}

TEST_F(Sweep, AStorageFailureStopsClaimingAndIsNotATrialsFault) {
  ExecuteOptions options = quick_options();
  options.launcher.workers = 1;
  const Outcome outcome = run(synthetic_plan({R"({"behaviour":"exit","exit_code":25})", "{}"}), options);
  EXPECT_EQ(outcome.exit_code, ExitCode::kStorage);
  EXPECT_EQ(scan_.count(Kind::kPlanned), 2) << "both are tried again once there is space";
}

TEST_F(Sweep, ADeviceThatFailsTwiceGetsNoFurtherTrial) {
  ::setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), 1);
  ExecuteOptions options = quick_options();
  options.launcher.workers = 1;
  options.launcher.devices = {"0"};
  const std::string fails = R"({"behaviour":"exit","exit_code":27})";
  const Outcome outcome = run(synthetic_plan({fails, fails, "{}", "{}"}), options);
  EXPECT_EQ(outcome.exit_code, ExitCode::kStopped);
  EXPECT_EQ(sidecar(0).failure_class, "device");
  EXPECT_EQ(sidecar(1).failure_class, "device");
  EXPECT_EQ(scan_.count(Kind::kPlanned), 2) << "they are left for a run on sound devices";
}

TEST_F(Sweep, ATrialThatAnotherProcessRunsIsWaitedForAndNotRunTwice) {
  const Plan plan = synthetic_plan({"{}"});
  Prepared prepared = prepare(plan, out_, {});
  results::make_folders(out_.trial_dir(plan.trials[0].id));
  auto lock = TrialLock::take(out_, plan.trials[0].id);
  ASSERT_TRUE(lock.has_value());
  EXPECT_TRUE(trial_is_running(out_, plan.trials[0].id));
  EXPECT_FALSE(TrialLock::take(out_, plan.trials[0].id).has_value());
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    results::TrialRecord record = results::sample_record("x");
    record.id = plan.trials[0].id;
    results::publish(record, out_.results_dir());
    lock.reset();
  });
  const Outcome outcome = execute(prepared.plan, out_, prepared.scan, quick_options());
  other.join();
  EXPECT_EQ(outcome.exit_code, ExitCode::kOk);
  EXPECT_EQ(outcome.progress.num_completed, 1u);
  EXPECT_EQ(scan(plan, out_, Verify::kHashes).trials[0].attempts, 0) << "nothing was started here";
  EXPECT_FALSE(trial_is_running(out_, plan.trials[0].id));
}

TEST_F(Sweep, RepairLeavesTheFilesOfARunningTrialAlone) {
  const Plan plan = synthetic_plan({"{}"});
  run(plan);
  std::filesystem::remove(results::sidecar_path(out_.results_dir(), plan.trials[0].id));  // not yet acknowledged
  std::ofstream(out_.results_dir() / ".tmp-1234") << "being written";
  {
    const auto lock = TrialLock::take(out_, plan.trials[0].id);
    EXPECT_EQ(prepare(plan, out_, {}).scan.count(Kind::kPlanned), 1);
    EXPECT_TRUE(std::filesystem::exists(results::result_path(out_.results_dir(), plan.trials[0].id)));
    EXPECT_TRUE(std::filesystem::exists(out_.results_dir() / ".tmp-1234"));
  }
  prepare(plan, out_, {});
  EXPECT_FALSE(std::filesystem::exists(results::result_path(out_.results_dir(), plan.trials[0].id)));
  EXPECT_FALSE(std::filesystem::exists(out_.results_dir() / ".tmp-1234"));
}

TEST_F(Sweep, GrandchildrenAreEnded) {
  run(synthetic_plan({R"({"behaviour":"grandchild"})"}));
  // The orphan became ours (subreaper) and was killed with its group: nothing is left to wait for.
  for (int i = 0; i < 100; ++i) {
    if (::waitpid(-1, nullptr, WNOHANG) < 0) break;
    ::usleep(10'000);
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(Sweep, AMissingWorkerIsALauncherError) {
  ExecuteOptions options = quick_options();
  options.worker = "/nonexistent/worker";
  try {
    run(synthetic_plan({"{}"}), options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), ExitCode::kLauncher);
  }
}

TEST_F(Sweep, DamagedResultsAreSetAsideAndRepeated) {
  const Plan plan = synthetic_plan({"{}", "{}", "{}", "{}"});
  run(plan);
  const auto file = [&](size_t i) { return results::result_path(out_.results_dir(), plan.trials[i].id); };
  std::string bytes = results::read_file(file(0));
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(file(0), std::ios::binary) << bytes;                                      // flipped
  std::filesystem::resize_file(file(1), 100);                                             // cut
  std::filesystem::remove(results::sidecar_path(out_.results_dir(), plan.trials[2].id));  // not acknowledged
  std::filesystem::remove(file(3));                                                       // deleted by the user
  std::ofstream(out_.results_dir() / ".tmp-1234") << "left by a killed worker";
  const Outcome outcome = run(plan);
  EXPECT_EQ(outcome.exit_code, ExitCode::kOk);
  EXPECT_EQ(outcome.progress.num_reused, 0u);
  EXPECT_EQ(scan_.count(Kind::kCompleted), 4);
  EXPECT_EQ(scan_.num_temporaries, 0);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(out_.quarantine_dir()), {}), 6);
}

TEST_F(Sweep, TheWorkersEnvironmentIsAllowListed) {
  ::setenv("AQLM_SECRET_TOKEN", "x", 1);
  ::setenv("AQLM_EXP_SOMETHING", "y", 1);
  const auto environment = worker_environment({}, {{"OMP_NUM_THREADS", "3"}});
  EXPECT_THAT(environment, testing::Contains("AQLM_EXP_SOMETHING=y"));
  EXPECT_THAT(environment, testing::Contains("OMP_NUM_THREADS=3"));
  EXPECT_THAT(environment, testing::Not(testing::Contains("AQLM_SECRET_TOKEN=x")));
  EXPECT_THAT(worker_environment({"AQLM_SECRET_TOKEN"}, {}), testing::Contains("AQLM_SECRET_TOKEN=x"));
}

TEST_F(Sweep, OneLockHolderAtATime) {
  results::make_folders(out_.root);
  {
    FolderLock lock(out_, "first command");
    EXPECT_TRUE(lock_holder(out_).held);
    try {
      FolderLock second(out_, "second");
      FAIL();
    } catch (const LockedError& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("first command"));
      EXPECT_THAT(error.what(), testing::HasSubstr(std::to_string(::getpid())));
      EXPECT_EQ(error.exit_code(), ExitCode::kLocked);
    }
  }
  EXPECT_FALSE(lock_holder(out_).held);
  FolderLock again(out_, "third");
}

TEST_F(Sweep, APidInTheLockFileDecidesNothing) {  // after a reboot it may belong to anybody
  results::make_folders(out_.root);
  { FolderLock lock(out_, "before the reboot"); }
  std::string text = results::read_file(out_.lock_file());
  std::ofstream(out_.lock_file()) << text << "pid " << ::getpid() << ", which lives\n";
  EXPECT_FALSE(lock_holder(out_).held);
  FolderLock lock(out_, "after it");
  EXPECT_TRUE(lock_holder(out_).held);
}

TEST_F(Sweep, AChangedPlanNeedsExtend) {
  run(synthetic_plan({"{}", "{}"}));
  const Plan more = synthetic_plan({"{}", "{}", "{}"});
  EXPECT_THROW(prepare(more, out_, {}), ConfigError);
  EXPECT_EQ(load_plan(out_.plan_file()).trials.size(), 2u) << "nothing was mixed";
  const Prepared prepared = prepare(more, out_, {.extend = true});
  EXPECT_EQ(prepared.plan.trials.size(), 3u);
  EXPECT_EQ(prepared.scan.count(Kind::kCompleted), 2);
  Plan changed = synthetic_plan({"{}", R"({"value":7})", "{}"});
  try {
    prepare(changed, out_, {});
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("job.value 1 -> 7"));
  }
}

TEST_F(Sweep, ResultsOfAnotherBuildAreReusedWithANoteOrRepeated) {
  Plan plan = synthetic_plan({"{}"});
  run(plan);
  plan.build_id = "b2";
  EXPECT_THAT(prepare(plan, out_, {}).notes, testing::Contains(testing::HasSubstr("mixed builds")));
  EXPECT_THROW(prepare(plan, out_, {.code_mismatch = CodeMismatch::kFail}), ConfigError);
  EXPECT_EQ(prepare(plan, out_, {.code_mismatch = CodeMismatch::kRerun}).scan.count(Kind::kPlanned), 1);
}

TEST(Journal, MarksEachLineAndLeavesATornOneAlone) {
  TempDir dir;
  const auto file = dir.path() / "journal.jsonl";
  std::ofstream(file) << "{\"v\":1,\"torn";
  Journal(file, results::system_files()).write("run.started", {{"a", "b\n\xFF"}});
  std::ifstream in(file);
  std::string torn, line;
  std::getline(in, torn);
  std::getline(in, line);
  EXPECT_EQ(torn, "{\"v\":1,\"torn");
  EXPECT_THAT(line, testing::MatchesRegex(".*\"ev\":\"run.started\",\"a\":\"b.*\",\"crc32c\":\"[0-9a-f]+\"}"));
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);  // the check value of CRC-32C
}

}  // namespace
}  // namespace aqlm_exp::plan
