// What the world does to a running driver: terminals that close, clocks that jump, disks that fail, edited files,
// another sweep on the same device. And what it prints for programs.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/mount.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "framework/base/timer.h"
#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/scan.h"
#include "tests/experiments/app/driver_process.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

class Surroundings : public testing::Test {
 protected:
  void write_config(const std::string& job, const std::string& params, const std::string& launcher = "") {
    std::ofstream(dir_.path() / "s.yaml")
        << "job: " << job << "\nexp: {sweep: {params: {" << params << "}}, launcher: {backoff_s: 0.05, grace_s: 5"
        << (launcher.empty() ? "" : ", " + launcher) << "}}\n";
  }
  Finished run(const std::vector<std::string>& arguments) { return Driver(dir_.path(), dir_.path(), arguments).wait(); }
  json status(const std::string& out) { return json::parse(run({"status", out, "--json"}).out); }
  int64_t completed(const std::string& out) {
    const plan::OutFolder folder{dir_.path() / out};
    return plan::scan(plan::load_plan(folder.plan_file()), folder, plan::Verify::kHashes)
        .count(plan::TrialState::Kind::kCompleted);
  }
  bool started(const std::string& out) const {
    std::ifstream journal(dir_.path() / out / "journal.jsonl");
    return std::string((std::istreambuf_iterator<char>(journal)), {}).find("trial.started") != std::string::npos;
  }
  void wait_until_started(const std::string& out) const {
    const Stopwatch watch;
    while (!started(out) && watch.elapsed_s() < 60) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_TRUE(started(out));
  }

  TempDir dir_;
};

/// A driver on a terminal of its own.
class OnTerminal {
 public:
  OnTerminal(const fs::path& folder, const std::vector<std::string>& arguments) {
    winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = ::forkpty(&master_, nullptr, nullptr, &size);
    if (pid_ == 0) {
      ::setenv("TERM", "xterm", 1);
      become_driver(folder, arguments);
    }
    reader_ = std::thread([this] {
      char bytes[4096];
      for (ssize_t got; (got = ::read(master_, bytes, sizeof bytes)) > 0;)
        shown_.append(bytes, static_cast<size_t>(got));
    });
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;
  ~OnTerminal() {
    ::kill(pid_, SIGKILL);
    if (reader_.joinable()) reader_.join();
    ::close(master_);
  }
  void type(char key) const { ASSERT_EQ(::write(master_, &key, 1), 1); }
  int wait(std::string* shown = nullptr) {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    if (reader_.joinable()) reader_.join();  // the last process of the terminal is gone: read fails
    if (shown != nullptr) *shown = shown_;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
  int master_ = -1;
  std::string shown_;
  std::thread reader_;
};

TEST_F(Surroundings, CtrlCOnATerminalLetsTheTrialFinishAndLeavesTheScreenInOrder) {
  write_config("{behaviour: ok, seconds: 1.5, value: 0}", "job.value: \"0,1,2\"");
  OnTerminal terminal(dir_.path(), {"run", "s.yaml", "-o", "out"});
  wait_until_started("out");
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  terminal.type(3);
  std::string shown;
  EXPECT_EQ(terminal.wait(&shown), 130);
  EXPECT_THAT(shown, HasSubstr("[--------------------] 0/3")) << "a bar while it ran";
  EXPECT_THAT(shown, HasSubstr("go on with: aqlm-exp run s.yaml -o out"));
  EXPECT_EQ(completed("out"), 1) << "the running trial had its time; workers do not see the terminal's Ctrl-C";
}

TEST_F(Surroundings, CtrlCTwiceOnATerminalEndsAtOnce) {
  write_config("{behaviour: ok, seconds: 60, value: 0}", "job.value: \"0,1\"");
  OnTerminal terminal(dir_.path(), {"run", "s.yaml", "-o", "out"});
  wait_until_started("out");
  terminal.type(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  terminal.type(3);
  EXPECT_EQ(terminal.wait(), 130);
  EXPECT_EQ(completed("out"), 0);
}

TEST_F(Surroundings, AClosedTerminalIsLikeSigterm) {
  write_config("{behaviour: ok, seconds: 1, value: 0}", "job.value: \"0,1\"");
  int master = -1;
  const pid_t pid = ::forkpty(&master, nullptr, nullptr, nullptr);
  if (pid == 0) become_driver(dir_.path(), {"run", "s.yaml", "-o", "out"});
  wait_until_started("out");
  ::close(master);  // SIGHUP, and every write to the terminal fails from now on
  int status = 0;
  ::waitpid(pid, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 143);
  EXPECT_EQ(completed("out"), 1);
  EXPECT_EQ(run({"run", "s.yaml", "-o", "out", "-q"}).code, 0);
}

TEST_F(Surroundings, ADetachedRunGoesOnWithoutItsTerminal) {
  write_config("{behaviour: ok, seconds: 0.7, value: 0}", "job.value: \"0,1,2\"");
  int master = -1;
  const pid_t pid = ::forkpty(&master, nullptr, nullptr, nullptr);
  if (pid == 0) become_driver(dir_.path(), {"run", "s.yaml", "-o", "out", "--detach"});
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  ::close(master);
  const Stopwatch watch;
  const plan::OutFolder out{dir_.path() / "out"};
  while (watch.elapsed_s() < 120 && (plan::lock_holder(out).held || !fs::exists(out.merged_file()))) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(completed("out"), 3);
  EXPECT_TRUE(fs::exists(out.merged_file()));
  EXPECT_GT(fs::file_size(dir_.path() / "out/driver.log"), 0u);
}

TEST_F(Surroundings, ADetachedRunThatCannotStartSaysSo) {
  write_config("{behaviour: ok, value: 0}", "job.value: \"0,1\"");
  run({"run", "s.yaml", "-o", "out", "-q"});
  const plan::FolderLock lock({dir_.path() / "out"}, "the test");
  const Finished finished = run({"run", "s.yaml", "-o", "out", "--detach"});
  EXPECT_EQ(finished.code, 6);
  EXPECT_THAT(finished.err, HasSubstr("the test"));
}

TEST_F(Surroundings, AReaderThatGoesAwayEndsNoSweep) {
  write_config("{behaviour: ok, seconds: 0.3, value: 0}", "job.value: \"0,1,2\"");
  const int code =
      std::system(fmt::format("cd '{}' && AQLM_EXP_TRIAL='{}' AQLM_EXP_HOME='{}' '{}' run s.yaml -o out --progress "
                              "plain 2>&1 >/dev/null | head -n 1 > first; true",
                              dir_.path().string(), AQLM_EXP_SYNTHETIC_WORKER, AQLM_EXP_TEST_HOME, AQLM_EXP_DRIVER)
                      .c_str());
  EXPECT_EQ(code, 0);
  const Stopwatch watch;
  while (watch.elapsed_s() < 60 && plan::lock_holder({dir_.path() / "out"}).held) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(completed("out"), 3);
}

TEST_F(Surroundings, ClocksThatJumpByADayCostNobodyHisTime) {
  const char* library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
  if (!fs::exists(library)) GTEST_SKIP() << "libfaketime is not installed (Debian package faketime)";
  write_config("{behaviour: ok, seconds: 1, value: 0}", "job.value: \"0,1,2,3\"",
               "timeout_s: 60, env: [LD_PRELOAD, FAKETIME_TIMESTAMP_FILE, FAKETIME_NO_CACHE, "
               "FAKETIME_DONT_FAKE_MONOTONIC, DONT_FAKE_MONOTONIC]");
  const fs::path clock = dir_.path() / "clock";
  std::ofstream(clock) << "+0\n";
  ::setenv("LD_PRELOAD", library, 1);
  ::setenv("FAKETIME_TIMESTAMP_FILE", clock.c_str(), 1);
  ::setenv("FAKETIME_NO_CACHE", "1", 1);
  ::setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
  ::setenv("DONT_FAKE_MONOTONIC", "1", 1);
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "-o", "out", "--progress", "plain"});
  for (const char* name : {"LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC",
                           "DONT_FAKE_MONOTONIC"}) {
    ::unsetenv(name);
  }
  wait_until_started("out");
  std::ofstream(clock) << "+86400\n";
  std::this_thread::sleep_for(std::chrono::milliseconds(1200));
  std::ofstream(clock) << "-86400\n";
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  std::ifstream journal(dir_.path() / "out/journal.jsonl");
  std::set<std::string> days;
  for (std::string line; std::getline(journal, line);) {
    const json event = json::parse(line);
    days.insert(event["t"].get<std::string>().substr(0, 10));
    if (event["ev"] == "trial.ended") {
      EXPECT_LT(std::stod(event["duration_s"].get<std::string>()), 30);
    }
  }
  EXPECT_GE(days.size(), 2u) << "the clock did jump";
  EXPECT_EQ(run({"verify", "out", "--deep"}).code, 0);
  EXPECT_EQ(run({"run", "s.yaml", "-o", "out", "-q"}).code, 0);
}

TEST_F(Surroundings, AnFsyncThatFailsIsNotWrittenAndNotAskedAgain) {
  write_config("{behaviour: ok, seconds: 0, value: 0}", "job.value: \"0,1\"", "env: [LD_PRELOAD, AQLM_EXP_FAIL_FSYNC]");
  ::setenv("LD_PRELOAD", failing_fsync(dir_.path()).c_str(), 1);
  ::setenv("AQLM_EXP_FAIL_FSYNC", "/results/.tmp-", 1);
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "-o", "out", "--progress", "none"});
  ::unsetenv("LD_PRELOAD");
  ::unsetenv("AQLM_EXP_FAIL_FSYNC");
  const Finished failed = driver.wait();
  EXPECT_EQ(failed.code, 7) << failed.err;
  EXPECT_THAT(failed.err, HasSubstr("Input/output error"));
  EXPECT_EQ(completed("out"), 0);
  EXPECT_TRUE(fs::is_empty(dir_.path() / "out/results")) << "nothing half-published";
  EXPECT_EQ(run({"run", "s.yaml", "-o", "out", "-q"}).code, 0);
  EXPECT_EQ(completed("out"), 2);
}

TEST_F(Surroundings, AnEditedConfigurationChangesNoRunningSweep) {
  write_config("{behaviour: ok, seconds: 0.5, value: 0}", "job.value: \"0,1,2\"");
  Driver driver(dir_.path(), dir_.path(), {"run", "s.yaml", "-o", "out", "--json"});
  wait_until_started("out");
  write_config("{behaviour: abort, seconds: 9, value: 5}", "job.value: \"7,8\"");
  const Finished finished = driver.wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(json::parse(finished.out)["num_completed"], 3);
  const Finished resumed = run({"run", "s.yaml", "-o", "out"});
  EXPECT_EQ(resumed.code, 3);
  EXPECT_THAT(resumed.err, HasSubstr("job.value=7"));
  EXPECT_EQ(completed("out"), 3);
}

TEST_F(Surroundings, AReadOnlyFolderIsRefusedBeforeAnyTrial) {
  const fs::path disk = dir_.path() / "disk";
  fs::create_directory(disk);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "size=2m") != 0)
    GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  write_config("{behaviour: ok, value: 0}", "job.value: \"0,1\"");
  EXPECT_EQ(run({"run", "s.yaml", "-o", "disk/out", "-q"}).code, 0);
  ::mount("none", disk.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr);
  const Finished finished = run({"run", "s.yaml", "-o", "disk/out"});
  EXPECT_EQ(finished.code, 7);
  EXPECT_THAT(finished.err, HasSubstr("Read-only file system"));
  EXPECT_EQ(run({"status", "disk/out"}).code, 0) << "reading needs no lock";
  ::umount2(disk.c_str(), MNT_DETACH);
}

TEST_F(Surroundings, TwoSweepsOnOneDeviceTakeTurns) {
  ::setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), 1);
  write_config("{behaviour: ok, seconds: 1.5, value: 0}", "job.value: \"0,1\"", "devices: [\"7\"]");
  Driver first(dir_.path(), dir_.path(), {"run", "s.yaml", "job.value=0", "-o", "first"});
  wait_until_started("first");
  Driver second(dir_.path(), dir_.path(), {"run", "s.yaml", "job.value=1", "-o", "second", "--progress", "plain"});
  const Finished waited = second.wait();
  EXPECT_EQ(first.wait().code, 0);
  EXPECT_EQ(waited.code, 0);
  EXPECT_THAT(waited.err, HasSubstr("in use by other sweeps; waiting"));
  ::unsetenv("XDG_RUNTIME_DIR");
}

TEST_F(Surroundings, EventsAreJsonLinesThatTellTheWholeStory) {
  write_config("{behaviour: ok, value: 0, exit_code: 22}", "job.behaviour: \"ok,exit\"");
  const Finished finished = run({"run", "s.yaml", "-o", "out", "--events", "--progress", "none"});
  EXPECT_EQ(finished.code, 5);
  const json schema = json::parse(std::ifstream(AQLM_EXP_SOURCE_DIR "/docs/events.schema.json"));
  std::vector<std::string> names;
  std::istringstream in(finished.out);
  for (std::string line; std::getline(in, line);) {
    const json event = json::parse(line);
    EXPECT_EQ(event["v"], 1);
    const std::string name = event["ev"];
    const json& described = schema["$defs"][name];
    ASSERT_TRUE(described.is_object()) << name << " is not in the schema";
    for (const json& key : described["required"]) EXPECT_TRUE(event.contains(key)) << name << " lacks " << key;
    for (const auto& [key, value] : event.items()) {
      EXPECT_TRUE(described["properties"].contains(key) || key == "v" || key == "t" || key == "ev")
          << name << "." << key;
    }
    if (name != "progress") names.push_back(name);
    if (name == "trial.finished" && event["status"] == "failed") {
      EXPECT_EQ(event["class"], "numerical");
    }
  }
  EXPECT_THAT(names, testing::ElementsAre("run.started", "trial.started", "trial.finished", "trial.started",
                                          "trial.finished", "run.finished"));
}

TEST_F(Surroundings, TwiceQuietIsSilent) {
  write_config("{behaviour: ok, value: 0}", "job.value: \"0,1\"");
  const Finished good = run({"run", "s.yaml", "-o", "out", "-qq"});
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.out + good.err, "");
  const Finished bad = run({"run", "s.yaml", "-o", "out", "-qq", "+job.nonsense=1"});
  EXPECT_EQ(bad.code, 3);
  EXPECT_EQ(bad.out + bad.err, "");
}

TEST_F(Surroundings, ReproRunsTheTrialAgain) {
  write_config("{behaviour: ok, value: 0}", "job.value: \"0,1\"");
  const json whole = json::parse(run({"run", "s.yaml", "-o", "out", "--json"}).out);
  const std::string id = whole["trials"][1]["id"];
  EXPECT_EQ(run({"repro", "out", id.substr(0, 12), "--run"}).code, 0);
  const json again = status("repro-" + id.substr(0, 12));
  ASSERT_EQ(again["trials"].size(), 1u);
  EXPECT_EQ(again["trials"][0]["id"], id);
  EXPECT_EQ(again["trials"][0]["status"], "completed");
}

}  // namespace
}  // namespace aqlm_exp::app
