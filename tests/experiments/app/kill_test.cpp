// Random kills: `kill -9` of the driver or of a worker at random moments of a sweep of twelve half-second trials, each
// followed by `run`. In the end the results equal those of an uninterrupted run, byte for byte in their deterministic
// part. AQLM_EXP_KILLS sets the number of kills (200), AQLM_EXP_SEED the moments.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <thread>

#include "framework/base/rng.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/scan.h"
#include "framework/results/publish.h"
#include "tests/experiments/app/driver_process.h"
#include "tests/experiments/app/kills.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTwelve =
    "job: {behaviour: ok, seconds: 0.5, value: 0}\n"
    "exp: {sweep: {params: {job.value: \"range(12)\"}}, launcher: {workers: 4, backoff_s: 0.05}}\n";

TEST(RandomKills, LeaveTheResultsOfAnUninterruptedRun) {
  const int64_t num_kills = number_from("AQLM_EXP_KILLS", 200);
  Rng rng(static_cast<uint64_t>(number_from("AQLM_EXP_SEED", 1)));
  TempDir dir;
  std::ofstream(dir.path() / "s.yaml") << kTwelve;
  const auto command = [](const std::string& out) {
    return std::vector<std::string>{"run", "s.yaml", "-o", out, "--progress", "none", "-q"};
  };
  ASSERT_EQ(Driver(dir.path(), dir.path(), command("reference")).wait().code, 0);
  const auto expected = deterministic_parts(dir.path() / "reference");
  ASSERT_EQ(expected.size(), 12u);

  int64_t kills = 0, driver_kills = 0, sweeps = 0, runs = 0;
  while (kills < num_kills) {
    const std::string out = fmt::format("out{}", sweeps++);
    std::map<std::string, std::string> acknowledged;  // sidecars seen: they must never change or go
    for (;;) {
      Driver driver(dir.path(), dir.path(), command(out));
      ++runs;
      while (kills < num_kills && driver.running()) {
        std::this_thread::sleep_for(std::chrono::duration<double>(0.01 + 0.6 * rng.uniform()));
        if (!driver.running()) break;
        const std::vector<pid_t> workers = children_of(driver.pid());
        ++kills;
        if (workers.empty() || rng.below(2) == 0) {
          driver.signal(SIGKILL);
          ++driver_kills;
          break;
        }
        ::kill(workers[rng.below(workers.size())], SIGKILL);
      }
      const Finished finished = driver.wait();
      for (const auto& [path, text] : acknowledged) {
        ASSERT_EQ(results::read_file(path), text) << "an acknowledged result changed";
      }
      if (!fs::exists(dir.path() / out / "results")) continue;  // killed before it made anything
      for (const auto& entry : fs::directory_iterator(dir.path() / out / "results")) {
        if (entry.path().extension() != ".json") continue;
        const std::string text = results::read_file(entry.path());
        if (text.find("\"status\":\"completed\"") != std::string::npos) acknowledged[entry.path().string()] = text;
      }
      if (finished.code == 0) break;
      // 137: we killed it. 5: a trial was killed twice in one run. 10: what we killed was the worker that told its
      // schema.
      const bool asked = finished.code == 10 && finished.err.find("describe") != std::string::npos;
      ASSERT_TRUE(finished.code == 137 || finished.code == 5 || asked) << finished.code << "\n" << finished.err;
      ASSERT_LT(runs, 20 * num_kills);
    }
    ASSERT_EQ(deterministic_parts(dir.path() / out), expected);
    EXPECT_EQ(Driver(dir.path(), dir.path(), {"verify", out, "--deep"}).wait().code, 0);
    for (const auto& entry : fs::recursive_directory_iterator(dir.path() / out)) {
      const std::string name = entry.path().filename().string();
      const bool in_store = entry.path().string().find("/trials/") == std::string::npos;
      EXPECT_FALSE(in_store && name.rfind(".tmp-", 0) == 0) << entry.path();
    }
  }
  fmt::print("{} kills ({} of the driver) over {} sweeps and {} runs\n", kills, driver_kills, sweeps, runs);
}

}  // namespace
}  // namespace aqlm_exp::app
