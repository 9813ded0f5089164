// Crashes by design, in SQLite's manner: the file-system calls of a small sweep are recorded, and the folder is rebuilt
// as it would be after every prefix of them (kill) and after power cuts that lose unsynchronised data; then every call
// is made to fail in turn. In each case no acknowledged trial may be lost and no damaged one may be used.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <map>
#include <memory>
#include <set>

#include "framework/base/rng.h"
#include "framework/results/publish.h"
#include "framework/results/record.h"
#include "tests/framework/plan/synthetic_plan.h"
#include "tests/framework/results/sample_record.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::plan {
namespace {

namespace fs = std::filesystem;

struct Call {
  enum class Kind { kCreate, kWrite, kSync, kSyncFolder, kRename, kUnlink, kMkdir };
  Kind kind;
  std::string path;  // kRename: from
  std::string target;
  std::string bytes;
};

/// Passes calls on and notes those that change something.
class Recorder final : public results::FileSystem {
 public:
  int open(const std::string& path, int flags, mode_t mode) override {
    const int fd = FileSystem::open(path, flags, mode);
    if (fd >= 0) paths_[fd] = path;
    if (fd >= 0 && (flags & O_CREAT) != 0) calls.push_back({Call::Kind::kCreate, path, "", ""});
    return fd;
  }
  ssize_t write(int fd, const void* bytes, size_t size) override {
    // Halves, so that there is a crash point within every file.
    const ssize_t written = FileSystem::write(fd, bytes, size > 64 ? size / 2 : size);
    if (written > 0) {
      calls.push_back({Call::Kind::kWrite, paths_[fd], "", std::string(static_cast<const char*>(bytes), written)});
    }
    return written;
  }
  int fsync(int fd) override {
    const int result = FileSystem::fsync(fd);
    const bool folder = fs::is_directory(paths_[fd]);
    if (result == 0) calls.push_back({folder ? Call::Kind::kSyncFolder : Call::Kind::kSync, paths_[fd], "", ""});
    return result;
  }
  int rename(const std::string& from, const std::string& to) override {
    const int result = FileSystem::rename(from, to);
    if (result == 0) calls.push_back({Call::Kind::kRename, from, to, ""});
    return result;
  }
  int rename_noreplace(const std::string& from, const std::string& to) override {
    const int result = FileSystem::rename_noreplace(from, to);
    if (result == 0) calls.push_back({Call::Kind::kRename, from, to, ""});
    return result;
  }
  int unlink(const std::string& path) override {
    const int result = FileSystem::unlink(path);
    if (result == 0) calls.push_back({Call::Kind::kUnlink, path, "", ""});
    return result;
  }
  int mkdir(const std::string& path, mode_t mode) override {
    const int result = FileSystem::mkdir(path, mode);
    if (result == 0) calls.push_back({Call::Kind::kMkdir, path, "", ""});
    return result;
  }
  std::vector<Call> calls;

 private:
  std::map<int, std::string> paths_;
};

/// A disk as a crash may leave it: what was synchronised, and what was only asked for.
class Disk {
 public:
  void apply(const Call& call) {
    const std::string folder = fs::path(call.path).parent_path().string();
    switch (call.kind) {
      case Call::Kind::kCreate: {
        auto file = std::make_shared<File>();
        open_[call.path] = file;
        change(folder, {call.path, file, false, ""});
        break;
      }
      case Call::Kind::kWrite:
        open_[call.path]->pending.push_back(call.bytes);
        break;
      case Call::Kind::kSync: {
        File& file = *open_[call.path];
        for (const std::string& bytes : file.pending) file.durable += bytes;
        file.pending.clear();
        break;
      }
      case Call::Kind::kSyncFolder:
        for (const Entry& entry : pending_[call.path]) enter(durable_, entry);
        pending_[call.path].clear();
        break;
      case Call::Kind::kRename:
        change(folder, {call.target, open_[call.path], false, call.path});
        open_[call.target] = open_[call.path];
        open_.erase(call.path);
        break;
      case Call::Kind::kUnlink:
        change(folder, {call.path, nullptr, false, call.path});
        break;
      case Call::Kind::kMkdir:
        change(folder, {call.path, nullptr, true, ""});
        break;
    }
  }

  /// Writes the state after losing each unsynchronised change with probability `loss` below `root`, whose recorded name
  /// was `recorded_root`.
  void materialise(const std::string& recorded_root, const fs::path& root, double loss, Rng& rng) const {
    std::map<std::string, Entry> entries = durable_;
    for (const auto& [folder, changes] : pending_) {
      for (const Entry& entry : changes) {
        if (rng.uniform() >= loss) enter(entries, entry);
      }
    }
    for (const auto& [path, entry] : entries) {  // folders come before what they hold
      const fs::path target = root / fs::path(path).lexically_relative(recorded_root);
      if (!fs::is_directory(target.parent_path())) continue;  // its folder was lost, and it with it
      if (entry.is_folder) {
        fs::create_directory(target);
        continue;
      }
      std::string bytes = entry.file->durable;
      for (const std::string& piece : entry.file->pending) {
        bytes += rng.uniform() >= loss ? piece : std::string(piece.size(), '\0');  // length known, data lost
      }
      std::ofstream(target, std::ios::binary) << bytes;
    }
  }

 private:
  struct File {
    std::string durable;
    std::vector<std::string> pending;
  };
  struct Entry {
    std::string path;
    std::shared_ptr<File> file;
    bool is_folder;
    std::string gone;  // the name that this change takes away
  };
  void change(const std::string& folder, Entry entry) { pending_[folder].push_back(std::move(entry)); }
  static void enter(std::map<std::string, Entry>& entries, const Entry& entry) {
    if (!entry.gone.empty()) entries.erase(entry.gone);
    if (entry.file || entry.is_folder) entries[entry.path] = entry;
  }

  std::map<std::string, std::shared_ptr<File>> open_;
  std::map<std::string, Entry> durable_;
  std::map<std::string, std::vector<Entry>> pending_;
};

results::TrialRecord record_of(const PlannedTrial& trial) {
  results::TrialRecord record = results::sample_record("x");
  record.id = trial.id;
  record.name = trial.name;
  return record;
}

/// A sweep as driver and workers write it: plan, attempts, a failure that is replaced, results, one repair.
struct Recording {
  Plan plan;
  std::string root;
  std::vector<Call> calls;
  std::vector<size_t> acknowledged_at;  // number of calls after which publish() had returned, a trial
};

Recording record_sweep(const fs::path& root, int num_trials) {
  Recording recording;
  recording.plan = synthetic_plan(std::vector<std::string>(static_cast<size_t>(num_trials), "{}"));
  recording.root = root.string();
  const OutFolder out{root};
  Recorder recorder;
  prepare(recording.plan, out, {}, recorder);
  for (size_t i = 0; i < recording.plan.trials.size(); ++i) {
    const PlannedTrial& trial = recording.plan.trials[i];
    if (i % 4 == 0) {
      results::Sidecar failure{.id = trial.id, .name = trial.name, .status = "failed", .failure_class = "crashed"};
      results::publish_failure(failure, out.results_dir(), recorder);
    }
    results::publish(record_of(trial), out.results_dir(), recorder);
    recording.acknowledged_at.push_back(recorder.calls.size());
  }
  recording.calls = std::move(recorder.calls);
  return recording;
}

/// Resumes in `root`: acknowledged trials are there with the right bytes, whatever counts as completed is right, and
/// finishing the sweep succeeds.
void expect_sound(const Recording& recording, const fs::path& root, size_t num_calls, const std::string& what) {
  SCOPED_TRACE(what);
  const OutFolder out{root};
  const Prepared prepared = prepare(recording.plan, out, {});
  for (size_t i = 0; i < recording.plan.trials.size(); ++i) {
    const PlannedTrial& trial = recording.plan.trials[i];
    const bool completed = prepared.scan.trials[i].kind == TrialState::Kind::kCompleted;
    const bool acknowledged = recording.acknowledged_at[i] <= num_calls;
    EXPECT_TRUE(completed || !acknowledged) << "acknowledged trial " << i << " was lost";
    if (completed) {
      EXPECT_EQ(results::deterministic_text(results::read_published(out.results_dir(), trial.id)),
                results::deterministic_text(record_of(trial)));
    }
    EXPECT_NE(prepared.scan.trials[i].kind, TrialState::Kind::kDamaged);
  }
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    EXPECT_NE(entry.path().filename().string().rfind(".tmp-", 0), 0u) << entry.path();
  }
}

TEST(Crash, EveryPrefixOfTheRecordedCallsLosesNothing) {
  TempDir recorded;
  const Recording recording = record_sweep(recorded.path() / "out", 12);
  Disk disk;
  Rng rng(1);
  for (size_t k = 0; k <= recording.calls.size(); ++k) {
    if (k > 0) disk.apply(recording.calls[k - 1]);
    TempDir replay;
    fs::create_directory(replay.path() / "out");
    disk.materialise(recording.root, replay.path() / "out", /*loss=*/0, rng);
    expect_sound(recording, replay.path() / "out", k, fmt::format("after call {}", k));
    if (testing::Test::HasFailure()) break;
  }
  fmt::print("{} crash points over {} trials\n", recording.calls.size() + 1, recording.plan.trials.size());
  RecordProperty("crash_points", static_cast<int>(recording.calls.size() + 1));
}

TEST(Crash, PowerCutsThatDropUnsynchronisedDataLoseNothingAcknowledged) {
  TempDir recorded;
  const Recording recording = record_sweep(recorded.path() / "out", 5);
  Disk disk;
  Rng rng(2);
  int num_cuts = 0;
  for (size_t k = 0; k <= recording.calls.size(); ++k) {
    if (k > 0) disk.apply(recording.calls[k - 1]);
    for (double loss : {1.0, 0.5, 0.5, 0.2}) {
      TempDir replay;
      fs::create_directory(replay.path() / "out");
      disk.materialise(recording.root, replay.path() / "out", loss, rng);
      // A plan that was never synchronised may be torn only as a temporary; the real name holds all or nothing.
      expect_sound(recording, replay.path() / "out", k, fmt::format("power cut after call {}, loss {}", k, loss));
      ++num_cuts;
      if (testing::Test::HasFailure()) return;
    }
  }
  fmt::print("{} power cuts\n", num_cuts);
}

/// Lets the n-th call of any kind fail, once or from then on.
class Faulty final : public results::FileSystem {
 public:
  Faulty(int fail_at, int error, bool for_ever) : fail_at_(fail_at), error_(error), for_ever_(for_ever) {}
  int open(const std::string& path, int flags, mode_t mode) override {
    return fails() && error_ != 0 ? -1 : FileSystem::open(path, flags, mode);
  }
  ssize_t write(int fd, const void* bytes, size_t size) override {
    if (!fails()) return FileSystem::write(fd, bytes, size);
    if (error_ != 0) return -1;
    return FileSystem::write(fd, bytes, std::max<size_t>(1, size / 3));  // a short write is no error
  }
  int fsync(int fd) override { return fails() && error_ != 0 ? -1 : FileSystem::fsync(fd); }
  int rename(const std::string& from, const std::string& to) override {
    return fails() && error_ != 0 ? -1 : FileSystem::rename(from, to);
  }
  int rename_noreplace(const std::string& from, const std::string& to) override {
    return fails() && error_ != 0 ? -1 : FileSystem::rename_noreplace(from, to);
  }
  int unlink(const std::string& path) override { return fails() && error_ != 0 ? -1 : FileSystem::unlink(path); }
  int mkdir(const std::string& path, mode_t mode) override {
    return fails() && error_ != 0 ? -1 : FileSystem::mkdir(path, mode);
  }
  bool reached() const { return count_ >= fail_at_; }

 private:
  bool fails() {
    ++count_;
    const bool now = for_ever_ ? count_ >= fail_at_ : count_ == fail_at_;
    if (now) errno = error_;
    return now;
  }
  int fail_at_, error_;
  bool for_ever_;
  int count_ = 0;
};

TEST(Crash, EveryCallThatFailsIsReportedAndRepairedByTheNextRun) {
  const Plan plan = synthetic_plan({"{}", "{}"});
  int num_cases = 0;
  for (int error : {ENOSPC, EIO, EDQUOT, EROFS}) {
    for (bool for_ever : {false, true}) {
      for (int n = 1;; ++n) {
        TempDir dir;
        const OutFolder out{dir.path() / "out"};
        Faulty faulty(n, error, for_ever);
        bool refused = false;
        try {
          prepare(plan, out, {}, faulty);
          for (const PlannedTrial& trial : plan.trials) results::publish(record_of(trial), out.results_dir(), faulty);
        } catch (const StorageError&) {
          refused = true;
        }
        if (!faulty.reached()) break;
        ++num_cases;
        // Closing a folder that was only opened to be synchronised may fail unnoticed; nothing else may.
        const Prepared again = prepare(plan, out, {});
        for (size_t i = 0; i < plan.trials.size(); ++i) {
          const bool completed = again.scan.trials[i].kind == TrialState::Kind::kCompleted;
          EXPECT_TRUE(completed || refused) << "call " << n << " error " << error;
          if (!completed) results::publish(record_of(plan.trials[i]), out.results_dir());
        }
        EXPECT_EQ(scan(plan, out, Verify::kHashes).count(TrialState::Kind::kCompleted), 2);
        EXPECT_EQ(scan(plan, out, Verify::kHashes).num_temporaries, 0);
      }
    }
  }
  fmt::print("{} failing calls\n", num_cases);
  EXPECT_GT(num_cases, 200);
}

TEST(Crash, InterruptedAndShortCallsAreFinished) {
  const Plan plan = synthetic_plan({"{}"});
  for (int error : {EINTR, 0}) {
    for (int n = 1;; ++n) {
      TempDir dir;
      const OutFolder out{dir.path() / "out"};
      results::make_folders(out.results_dir());
      results::put_file(out.plan_file(), plan_text(plan), results::IfPresent::kFail);
      Faulty faulty(n, error, /*for_ever=*/false);
      try {
        results::publish(record_of(plan.trials[0]), out.results_dir(), faulty);
      } catch (const StorageError& failure) {
        // rename, unlink and mkdir are not interrupted by signals; an EINTR from them counts as a failure
        EXPECT_EQ(error, EINTR) << failure.what();
        EXPECT_NE(std::string(failure.what()).find("rename"), std::string::npos) << failure.what();
        continue;
      }
      EXPECT_EQ(scan(plan, out, Verify::kHashes).count(TrialState::Kind::kCompleted), 1);
      if (!faulty.reached()) break;
    }
  }
}

}  // namespace
}  // namespace aqlm_exp::plan
