// The driver from outside: exit codes, output, interruption, a second driver, a full disk.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "framework/base/timer.h"
#include "framework/plan/out_folder.h"
#include "framework/results/publish.h"
#include "tests/experiments/app/driver_process.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class DriverTest : public testing::Test {
 protected:
  void write_config(const std::string& text, const fs::path& folder = {}) {
    std::ofstream((folder.empty() ? dir_.path() : folder) / "s.yaml") << text;
  }
  Finished run(const std::vector<std::string>& arguments) { return Driver(dir_.path(), dir_.path(), arguments).wait(); }

  TempDir dir_;
};

constexpr const char* kThree = R"(
job: {behaviour: ok, seconds: 0, value: 0, exit_code: 0}
exp: {sweep: {params: {job.value: "0,1,2"}}, launcher: {workers: 2, backoff_s: 0.05, grace_s: 1}}
)";

TEST_F(DriverTest, HelpAnswersAtOnceAndGoesToStdout) {
  double best_s = 1e9;
  Finished finished;
  for (int i = 0; i < 10; ++i) {
    const Stopwatch watch;
    finished = run({"--help"});
    best_s = std::min(best_s, watch.elapsed_s());
  }
  EXPECT_EQ(finished.code, 0);
  EXPECT_THAT(finished.out, HasSubstr("Examples:"));
  EXPECT_LT(best_s, 0.050);
}

TEST_F(DriverTest, RunPrintsATableAndLeavesTheFolder) {
  write_config(kThree);
  const Finished finished = run({"run", "s.yaml", "-o", "out dir"});
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("perplexity"));
  EXPECT_THAT(finished.err, HasSubstr("3/3"));
  for (const char* name : {"sweep.json", "sweep.h5", "journal.jsonl", "lock", "results"}) {
    EXPECT_TRUE(fs::exists(dir_.path() / "out dir" / name)) << name;
  }
}

TEST_F(DriverTest, OutputGoesToRunsUnlessSaidOtherwise) {
  write_config(kThree);
  EXPECT_EQ(run({"run", "s.yaml", "-q"}).code, 0);
  EXPECT_TRUE(fs::exists(dir_.path() / "runs/s/sweep.h5"));
}

TEST_F(DriverTest, JsonIsOneDocumentOnStdout) {
  write_config(kThree);
  const Finished finished = run({"run", "s.yaml", "-o", "out", "--json"});
  const json document = json::parse(finished.out);
  ASSERT_EQ(document["trials"].size(), 3u);
  const json& trial = document["trials"][1];
  EXPECT_EQ(trial["status"], "completed");
  EXPECT_EQ(trial["overrides"]["job.value"], 1);
  EXPECT_EQ(trial["id"].get<std::string>().size(), 64u);
  EXPECT_TRUE(trial["metrics"]["ppl"].is_number());
  EXPECT_EQ(document["exit_code"], 0);
}

TEST_F(DriverTest, DryRunAndPlanChangeNothing) {
  write_config(kThree);
  EXPECT_THAT(run({"plan", "s.yaml", "-o", "out"}).out, HasSubstr("job.value=2"));
  EXPECT_EQ(run({"run", "s.yaml", "-o", "out", "--dry-run"}).code, 0);
  EXPECT_FALSE(fs::exists(dir_.path() / "out"));
}

TEST_F(DriverTest, ExitCodesAreTheDocumentedOnes) {
  write_config(kThree);
  EXPECT_EQ(run({"run", "s.yaml", "--no-such-flag"}).code, 2);
  const Finished unknown = run({"rnu"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean 'run'"));
  EXPECT_EQ(run({"run", "s.yaml", "a=[1,"}).code, 2) << "override syntax";
  EXPECT_EQ(run({"run", "absent.yaml"}).code, 3);
  EXPECT_EQ(run({"run", "s.yaml", "+job.valeu=3"}).code, 3) << "unknown to the schema";
  EXPECT_EQ(run({"run", "s.yaml", "exp.launcher.workers=0"}).code, 3);
  EXPECT_EQ(run({"run", "s.yaml", "-o", "failed", "job.behaviour=exit", "job.exit_code=22"}).code, 5);
  EXPECT_EQ(run({"run", "s.yaml", "-o", "fast", "job.behaviour=exit", "--fail-fast", "job.exit_code=22"}).code, 8);
  EXPECT_EQ(run({"run", "s.yaml", "-o", "storage", "job.behaviour=exit", "job.exit_code=25"}).code, 7);
  EXPECT_EQ(run({"run", "s.yaml", "-o", "/proc/out"}).code, 7) << "cannot be written";
  EXPECT_EQ(run({"status", "nowhere"}).code, 4);
}

TEST_F(DriverTest, AConfigErrorNamesTheKeyAndItsNeighbour) {
  write_config("job: {behaviour: ok, secnods: 1}\n");
  const Finished finished = run({"run", "s.yaml", "-o", "out"});
  EXPECT_EQ(finished.code, 3);
  EXPECT_THAT(finished.err, HasSubstr("s.yaml:1:"));
  EXPECT_THAT(finished.err, HasSubstr("seconds"));
  EXPECT_FALSE(fs::exists(dir_.path() / "out")) << "nothing is made before everything is checked";
}

TEST_F(DriverTest, RunAndPlanKeepTheirLimits) {
  write_config(kThree);
  for (const char* command : {"plan", "run"}) {
    Finished finished = run({command, "s.yaml", "-o", "out", "--max-trials", "2", "--json"});
    EXPECT_EQ(finished.code, 3);
    EXPECT_EQ(json::parse(finished.out).at("errors").at(0).at("code"), "W104") << command;
    finished = run({command, "s.yaml", "-o", "out", "--max-nodes", "5"});
    EXPECT_EQ(finished.code, 2) << "a limit may only be raised";
    finished = run({command, "s.yaml", "-o", "out", "--max-file-bytes", "1000000"});
    EXPECT_EQ(finished.code, 2);
  }
  EXPECT_FALSE(fs::exists(dir_.path() / "out"));
  // 120,000 nodes: refused, and read once the limit is raised.
  std::string long_list = kThree + std::string("list: [");
  for (int i = 0; i < 120000; ++i) long_list += "1,";
  write_config(long_list + "1]\n");
  const Finished refused = run({"plan", "s.yaml", "--json"});
  EXPECT_EQ(refused.code, 3);
  EXPECT_EQ(json::parse(refused.out).at("errors").at(0).at("code").get<std::string>().substr(0, 2), "Y1");
  const Finished read = run({"plan", "s.yaml", "--json", "--max-nodes", "200000"});
  EXPECT_THAT(read.out, Not(HasSubstr("Y1")));  // what is left is the unknown key
  EXPECT_THAT(read.out, HasSubstr("unknown key 'list'"));
}

TEST_F(DriverTest, EveryRefusalIsJsonWhereJsonWasAskedFor) {
  write_config(kThree);
  const Finished missing = run({"plan", "nowhere.yaml", "--json"});
  EXPECT_EQ(missing.code, 3);
  EXPECT_THAT(json::parse(missing.out).at("errors").at(0).at("message").get<std::string>(), HasSubstr("no such file"));
  const Finished syntax = run({"run", "s.yaml", "a=[1", "--json"});
  EXPECT_EQ(syntax.code, 2);
  EXPECT_EQ(json::parse(syntax.out).at("errors").at(0).at("code"), "O101");
  const Finished flag = run({"plan", "s.yaml", "--jsn", "--json"});
  EXPECT_EQ(flag.code, 2);
  EXPECT_EQ(json::parse(flag.out).at("num_errors"), 1);
}

TEST_F(DriverTest, AFailedTrialIsARowWithItsReason) {
  write_config(kThree);
  const Finished finished =
      run({"run", "s.yaml", "-o", "out", "job.behaviour=exit", "job.exit_code=22", "job.value=0,1"});
  EXPECT_EQ(finished.code, 5);
  EXPECT_THAT(finished.out, HasSubstr("numerical: the synthetic reason"));
  EXPECT_THAT(run({"status", "out"}).out, HasSubstr("numerical"));
  EXPECT_THAT(run({"logs", "out", "job.value=1"}).out, HasSubstr("about to leave with 22"));
}

TEST_F(DriverTest, AChangedPlanNeedsExtend) {
  write_config(kThree);
  run({"run", "s.yaml", "-o", "out", "-q"});
  const Finished refused = run({"run", "s.yaml", "-o", "out", "job.value=0,1,2,3"});
  EXPECT_EQ(refused.code, 3);
  EXPECT_THAT(refused.err, HasSubstr("+ "));
  EXPECT_THAT(refused.err, HasSubstr("job.value=3"));
  const Finished extended = run({"run", "s.yaml", "-o", "out", "job.value=0,1,2,3", "--extend", "--json"});
  EXPECT_EQ(extended.code, 0) << extended.err;
  EXPECT_EQ(json::parse(extended.out)["num_reused"], 3);
  EXPECT_EQ(json::parse(extended.out)["num_completed"], 4);
}

TEST_F(DriverTest, VerifyFindsDamageAndRunMendsIt) {
  write_config(kThree);
  run({"run", "s.yaml", "-o", "out", "-q"});
  EXPECT_EQ(run({"verify", "out", "--deep"}).code, 0);
  fs::path file = fs::directory_iterator(dir_.path() / "out/results")->path();
  file.replace_extension(".h5");
  std::string bytes = results::read_file(file);
  bytes[bytes.size() / 3] ^= 1;
  std::ofstream(file, std::ios::binary) << bytes;
  const Finished verify = run({"verify", "out"});
  EXPECT_EQ(verify.code, 7);
  EXPECT_THAT(verify.out, HasSubstr("1 damaged"));
  EXPECT_EQ(run({"run", "s.yaml", "-o", "out", "-q"}).code, 0);
  EXPECT_EQ(run({"verify", "out", "--deep"}).code, 0);
}

TEST_F(DriverTest, AReportListsADamagedResultAndTellsTheRest) {
  write_config(kThree);
  run({"run", "s.yaml", "-o", "out", "-q"});
  fs::path file = fs::directory_iterator(dir_.path() / "out/results")->path();
  file.replace_extension(".h5");
  std::string bytes = results::read_file(file);
  bytes[bytes.size() / 3] ^= 1;
  std::ofstream(file, std::ios::binary) << bytes;
  const Finished report = run({"report", "out"});
  EXPECT_EQ(report.code, 0) << report.err;
  std::istringstream csv(results::read_file(dir_.path() / "out/report/summary.csv"));
  int damaged = 0, completed = 0;
  for (std::string line; std::getline(csv, line);) {
    damaged += line.find(",damaged,") != std::string::npos;
    completed += line.find(",completed,") != std::string::npos;
  }
  EXPECT_EQ(damaged, 1);
  EXPECT_EQ(completed, 2);
  EXPECT_THAT(results::read_file(dir_.path() / "out/report/report.html"), HasSubstr("1 without a result"));
}

TEST_F(DriverTest, AFolderThatCannotBeIsExitSeven) {
  write_config(kThree);
  for (const char* out : {"s.yaml/out", "/proc/nowhere/out"}) {
    const Finished finished = run({"run", "s.yaml", "-o", out});
    EXPECT_EQ(finished.code, 7) << out;
    EXPECT_THAT(finished.err, HasSubstr("make folder"));
  }
}

TEST_F(DriverTest, ReproGivesACommandThatGivesTheSameTrial) {
  write_config(kThree);
  const json whole = json::parse(run({"run", "s.yaml", "-o", "out", "--json"}).out);
  const std::string id = whole["trials"][1]["id"];
  const std::string command = run({"repro", "out", id.substr(0, 12)}).out;
  EXPECT_THAT(command, HasSubstr("job.value=1"));
  std::vector<std::string> words;
  std::istringstream in(command);
  for (std::string word; in >> word;) words.push_back(word);
  words.erase(words.begin());
  words.push_back("--json");
  const Finished again = run(words);
  ASSERT_EQ(again.code, 0) << again.err;
  const json single = json::parse(again.out);
  ASSERT_EQ(single["trials"].size(), 1u);
  EXPECT_EQ(single["trials"][0]["id"], id);
  EXPECT_EQ(single["trials"][0]["metrics"]["ppl"], whole["trials"][1]["metrics"]["ppl"]);
}

/// A sweep of two trials that take a while.
constexpr const char* kSlow = R"(
job: {behaviour: ok, seconds: 1.0, value: 0}
exp: {sweep: {params: {job.value: "0,1,2"}}, launcher: {workers: 1, grace_s: 5}}
)";

/// Until the driver in `folder` has started a trial (children alone would not do: asking for the schema is one, too).
void wait_for_worker(Driver& driver, const fs::path& folder) {
  for (int i = 0; i < 1000 && driver.running(); ++i) {
    std::ifstream journal(folder / "journal.jsonl");
    const std::string text((std::istreambuf_iterator<char>(journal)), {});
    if (text.find("trial.started") != std::string::npos) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL() << driver.err_so_far();
}

TEST_F(DriverTest, CtrlCLetsTheRunningTrialFinishAndSaysHowToGoOn) {
  write_config(kSlow);
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "job.seconds=0.5", "-o", "out dir"});
  wait_for_worker(driver, dir_.path() / "out dir");
  driver.signal(SIGINT);
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 130);
  EXPECT_THAT(finished.err, HasSubstr("go on with: aqlm-exp run s.yaml job.seconds=0.5 -o 'out dir'"));
  const json status = json::parse(run({"status", "out dir", "--json"}).out);
  EXPECT_EQ(status["trials"][0]["status"], "completed");
  EXPECT_EQ(status["trials"][1]["status"], "planned");
  EXPECT_EQ(run({"run", "s.yaml", "job.seconds=0.5", "-o", "out dir", "-q"}).code, 0);
}

TEST_F(DriverTest, CtrlCTwiceEndsAtOnce) {
  write_config(kSlow);
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "job.seconds=60", "-o", "out"});
  wait_for_worker(driver, dir_.path() / "out");
  const Stopwatch watch;
  driver.signal(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  driver.signal(SIGINT);
  EXPECT_EQ(driver.wait().code, 130);
  EXPECT_LT(watch.elapsed_s(), 3);
}

TEST_F(DriverTest, SigtermIsLikeCtrlC) {
  write_config(kSlow);
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "job.seconds=0.3", "-o", "out"});
  wait_for_worker(driver, dir_.path() / "out");
  driver.signal(SIGTERM);
  EXPECT_EQ(driver.wait().code, 143);
}

TEST_F(DriverTest, AKilledDriverTakesItsWorkersAlongAndFreesTheLock) {
  write_config(kSlow);
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "job.seconds=60", "-o", "out"});
  wait_for_worker(driver, dir_.path() / "out");
  const pid_t worker = children_of(driver.pid()).front();
  driver.signal(SIGKILL);
  driver.wait();
  bool gone = false;
  for (int i = 0; i < 500 && !gone; ++i) {
    gone = ::kill(worker, 0) != 0 || results::read_file("/proc/" + std::to_string(worker) + "/stat").empty();
    std::ifstream stat("/proc/" + std::to_string(worker) + "/stat");
    std::string pid, name, state;
    if (!(stat >> pid >> name >> state) || state == "Z" || state == "X") gone = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(gone) << "within 5 s";
  EXPECT_FALSE(plan::lock_holder({dir_.path() / "out"}).held);
  EXPECT_EQ(run({"run", "s.yaml", "job.seconds=0", "-o", "out2", "-q"}).code, 0);
}

TEST_F(DriverTest, AStoppedDriverChargesNobody) {
  write_config(kSlow);
  // Ten heartbeats of 0.2 s pass while the driver is stopped together with its worker; nothing may count as hung.
  Driver driver(dir_.path(), dir_.path(),
                {"run", "s.yaml", "job.seconds=0.5", "job.value=0", "exp.launcher.retries=0", "-o", "out"});
  wait_for_worker(driver, dir_.path() / "out");
  const pid_t worker = children_of(driver.pid()).front();
  ::kill(worker, SIGSTOP);
  driver.signal(SIGSTOP);
  std::this_thread::sleep_for(std::chrono::milliseconds(2600));
  ::kill(worker, SIGCONT);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  driver.signal(SIGCONT);
  EXPECT_EQ(driver.wait().code, 0);
}

TEST_F(DriverTest, OfManyDriversExactlyOneRuns) {
  write_config(kSlow);
  std::vector<std::unique_ptr<Driver>> drivers;
  for (int i = 0; i < 100; ++i) {
    drivers.push_back(std::make_unique<Driver>(
        dir_.path(), dir_.path(),
        std::vector<std::string>{"run", "s.yaml", "job.value=0", "job.seconds=4", "-o", "out"}));
  }
  int winners = 0, locked = 0;
  for (auto& driver : drivers) {
    const Finished finished = driver->wait();
    winners += finished.code == 0;
    locked += finished.code == 6;
    EXPECT_TRUE(finished.code == 0 || finished.code == 6) << finished.code << " " << finished.err;
  }
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(locked, 99);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_.path() / "out/trials"), {}), 1);
  EXPECT_FALSE(fs::exists(dir_.path() / "out/quarantine"));
}

/// A memory cgroup (version 1 or 2) that what is started meanwhile belongs to.
class MemoryGroup {
 public:
  explicit MemoryGroup(uint64_t limit_bytes) {
    for (const char* root : {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"}) {
      const fs::path folder = fs::path(root) / fmt::format("aqlm-exp-test-{}", ::getpid());
      if (::mkdir(folder.c_str(), 0755) != 0) continue;
      for (const char* file : {"memory.limit_in_bytes", "memory.max"}) {
        if (!ok_ && write(folder / file, std::to_string(limit_bytes))) {
          ok_ = write(folder / "cgroup.procs", std::to_string(::getpid()));
        }
      }
      root_ = root;
      folder_ = folder;
      if (ok_) return;
      ::rmdir(folder.c_str());
    }
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    leave();
    if (ok_) ::rmdir(folder_.c_str());
  }
  bool ok() const { return ok_; }
  void leave() const {
    if (ok_) write(root_ / "cgroup.procs", std::to_string(::getpid()));
  }

 private:
  static bool write(const fs::path& file, const std::string& text) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    return written;
  }
  fs::path root_, folder_;
  bool ok_ = false;
};

TEST_F(DriverTest, TheOutOfMemoryKillerIsRecognisedAndOthersGoOn) {
  write_config(R"yaml(
job: {behaviour: ok, value: 0}
exp: {sweep: {params: {job.behaviour: "memory,ok"}}}
)yaml");
  MemoryGroup group(128 << 20);
  if (!group.ok()) GTEST_SKIP() << "no memory cgroup can be made here";
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "-o", "out", "--json"});
  group.leave();
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 5) << finished.err;
  const json document = json::parse(finished.out);
  EXPECT_EQ(document["trials"][0]["status"], "oom");
  EXPECT_EQ(document["trials"][0]["failure"]["class"], "oom_host");
  EXPECT_EQ(document["trials"][0]["attempt"], 1);
  EXPECT_EQ(document["trials"][1]["status"], "completed");
}

TEST_F(DriverTest, AFullDiskIsExitSevenAndTheSweepGoesOnWhenThereIsSpace) {
  const fs::path disk = dir_.path() / "disk";
  fs::create_directory(disk);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=200k") != 0)
    GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  write_config(kThree);
  std::ofstream(disk / "ballast", std::ios::binary) << std::string(130 * 1024, 'x');
  const std::vector<std::string> command = {"run", "s.yaml", "job.value=0,1", "-o", "disk/out", "--progress", "none"};
  const Finished full = run(command);
  EXPECT_EQ(full.code, 7) << full.err;
  EXPECT_THAT(full.err, HasSubstr("bytes free"));
  EXPECT_THAT(full.err, HasSubstr("go on with: aqlm-exp run s.yaml"));
  for (const auto& entry : fs::recursive_directory_iterator(disk)) {
    const std::string name = entry.path().filename().string();
    EXPECT_NE(name.rfind(".tmp-", 0), 0u) << entry.path();
    if (entry.path().extension() == ".h5" && entry.path().parent_path().filename() == "results") {
      EXPECT_TRUE(fs::exists(fs::path(entry.path()).replace_extension(".json"))) << "half-published";
    }
  }
  fs::remove(disk / "ballast");
  const Finished done = run(command);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(json::parse(run({"status", "disk/out", "--json"}).out)["trials"].size(), 2u);
  ::umount2(disk.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace aqlm_exp::app
