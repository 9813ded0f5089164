// `kill -9` of driver and workers over a sweep of real quantisation, each kill followed by `run`: the final results
// equal an uninterrupted run's, byte for byte, in all that is deterministic. One command for the default sweep:
//
//   AQLM_EXP_DEFAULT_SWEEP=1 build/experiments_app_default_kills_test
//
// and, with the 200 kills of kill_test.cpp before it,
//
//   build/experiments_app_kills_test && AQLM_EXP_DEFAULT_SWEEP=1 build/experiments_app_default_kills_test
//
// Without that variable a small sweep is killed, so that the test ends in minutes. AQLM_EXP_KILLS (5), AQLM_EXP_SEED.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <thread>

#include "framework/base/rng.h"
#include "framework/base/timer.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/scan.h"
#include "framework/results/publish.h"
#include "tests/experiments/app/driver_process.h"
#include "tests/experiments/app/kills.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;

/// The real worker: the environment of the tests' drivers names the synthetic one.
std::vector<std::string> command(const std::string& out, bool whole) {
  std::vector<std::string> words = {"run", whole ? "builtin:configs/sweep_qwen.yaml" : "builtin:configs/base.yaml"};
  if (!whole) {
    for (const char* override :
         {"method=gptq,awq,rtn", "++quant.nbits=3,4", "calibration.num_samples=4", "calibration.seq_len=256",
          "eval.max_windows=2", "eval.seq_len=256", "++speed.enabled=false"}) {
      words.push_back(override);
    }
  }
  words.insert(words.end(), {"exp.launcher.backoff_s=0.1", "-o", out, "--progress", "none", "-q"});
  return words;
}

TEST(DefaultSweepKills, LeaveTheResultsOfAnUninterruptedRun) {
  const bool whole = number_from("AQLM_EXP_DEFAULT_SWEEP", 0) != 0;
  const int64_t num_kills = number_from("AQLM_EXP_KILLS", 5);
  Rng rng(static_cast<uint64_t>(number_from("AQLM_EXP_SEED", 1)));
  TempDir dir;
  ::setenv("AQLM_EXP_TEST_REAL_WORKER", "1", 1);
  ::setenv("AQLM_EXP_CHECKPOINT_S", "0", 1);  // every finished block is a place to go on from
  const Stopwatch reference_watch;
  const Finished reference = Driver(dir.path(), dir.path(), command("reference", whole)).wait();
  ASSERT_EQ(reference.code, 0) << reference.err;
  const double reference_s = reference_watch.elapsed_s();
  const auto expected = deterministic_parts(dir.path() / "reference");

  const Stopwatch watch;
  int64_t kills = 0, driver_kills = 0, runs = 0;
  int code = -1;
  for (; code != 0 && runs < 10 * num_kills; ++runs) {
    Driver driver(dir.path(), dir.path(), command("out", whole));
    while (kills < num_kills && driver.running()) {
      // Kills fall all over the sweep: what is left of it gets shorter with each run.
      std::this_thread::sleep_for(
          std::chrono::duration<double>(0.2 + 1.6 * rng.uniform() * reference_s / static_cast<double>(num_kills)));
      if (!driver.running()) break;
      const std::vector<pid_t> workers = children_of(driver.pid());
      ++kills;
      if (workers.empty() || kills % 2 == 1) {
        driver.signal(SIGKILL);
        ++driver_kills;
        break;
      }
      ::kill(workers[rng.below(workers.size())], SIGKILL);
    }
    const Finished finished = driver.wait();
    code = finished.code;
    ASSERT_TRUE(code == 0 || code == 137 || code == 5) << code << "\n" << finished.err;
    if (code == 0 && kills < num_kills) {  // it outran the kills: they go on over what another sweep does
      fs::remove_all(dir.path() / "out");
      code = -1;
    }
  }
  ASSERT_EQ(code, 0);
  const auto found = deterministic_parts(dir.path() / "out");
  ASSERT_EQ(found.size(), expected.size());
  for (const auto& [id, text] : expected) EXPECT_EQ(found.at(id), text) << id;
  EXPECT_EQ(Driver(dir.path(), dir.path(), {"verify", "out", "--deep"}).wait().code, 0);
  fmt::print("{} trials, {} kills ({} of the driver) over {} runs in {:.0f} s; the uninterrupted run took {:.0f} s\n",
             expected.size(), kills, driver_kills, runs, watch.elapsed_s(), reference_s);
}

TEST(RealWorker, TakesAFailedFsyncAsNotWritten) {
  TempDir dir;
  ::setenv("AQLM_EXP_TEST_REAL_WORKER", "1", 1);
  const std::vector<std::string> words = {"run",
                                          "builtin:configs/base.yaml",
                                          "method=rtn",
                                          "++quant.nbits=4",
                                          "eval.max_windows=1",
                                          "eval.seq_len=128",
                                          "++speed.enabled=false",
                                          "exp.launcher.env=[LD_PRELOAD,AQLM_EXP_FAIL_FSYNC]",
                                          "-o",
                                          "out",
                                          "-q"};
  ::setenv("LD_PRELOAD", failing_fsync(dir.path()).c_str(), 1);
  ::setenv("AQLM_EXP_FAIL_FSYNC", "/results/.tmp-", 1);
  Driver driver(dir.path(), dir.path(), words);
  ::unsetenv("LD_PRELOAD");
  ::unsetenv("AQLM_EXP_FAIL_FSYNC");
  const Finished failed = driver.wait();
  EXPECT_EQ(failed.code, 7) << failed.err;
  EXPECT_TRUE(fs::is_empty(dir.path() / "out/results")) << "nothing half-published";
  EXPECT_EQ(Driver(dir.path(), dir.path(), words).wait().code, 0);
  EXPECT_EQ(deterministic_parts(dir.path() / "out").size(), 1u);
}

TEST(RealWorker, ATextThatChangesMidSweepFailsTheTrialThatMeetsIt) {
  TempDir dir;
  ::setenv("AQLM_EXP_TEST_REAL_WORKER", "1", 1);
  const fs::path text = dir.path() / "text.txt";
  std::string contents = results::read_file(AQLM_EXP_SOURCE_DIR "/models/text/sampled_eval.txt").substr(0, 1 << 16);
  std::ofstream(text) << contents;
  Driver driver(
      dir.path(), dir.path(),
      {"run", "builtin:configs/base.yaml", "method=rtn", "++quant.nbits=4,3", "eval.path=" + text.string(),
       "eval.max_windows=1", "eval.seq_len=128", "++speed.enabled=false", "exp.launcher.workers=1", "-o", "out", "-q"});
  const plan::OutFolder out{dir.path() / "out"};
  const Stopwatch watch;
  const auto published = [&] {
    return fs::exists(out.results_dir()) &&
           std::any_of(fs::directory_iterator(out.results_dir()), fs::directory_iterator(),
                       [](const auto& entry) { return entry.path().extension() == ".json"; });
  };
  while (!published() && driver.running() && watch.elapsed_s() < 300) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  // In time: the second trial asks for the fingerprint when it starts and once more before it publishes.
  std::ofstream(text) << contents << "One sentence more.";
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 5) << finished.err;
  const plan::Plan plan = plan::load_plan(out.plan_file());
  ASSERT_EQ(plan.trials.size(), 2u);
  EXPECT_EQ(plan::trial_state(plan.trials[0], out, plan::Verify::kHashes).kind, plan::TrialState::Kind::kCompleted);
  const plan::TrialState second = plan::trial_state(plan.trials[1], out, plan::Verify::kHashes);
  ASSERT_TRUE(second.sidecar);
  EXPECT_EQ(second.sidecar->failure_class, "input_changed");
}

}  // namespace
}  // namespace aqlm_exp::app
