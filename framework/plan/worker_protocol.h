// What a driver and its workers agree on: command line, exit codes, heartbeat and progress, the note of a failure.
//
//   aqlm-exp-trial run --plan OUT/sweep.json --id <64 digits> --attempt-dir OUT/trials/<id16>/attempt-<n>
//
// The worker loads its trial with load_trial() (plan_file.h), keeps a Heartbeat, publishes with results::publish() into
// OUT/results and exits 0; or writes a failure note and exits with one of WorkerExit.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace aqlm_exp::plan {

/// Exit codes of a worker. Anything else that is not 0 counts as a crash.
enum class WorkerExit : int {
  kOk = 0,
  kConfig = 20,        ///< the plan's configuration is refused
  kInput = 21,         ///< a model or text cannot be used
  kNumerical = 22,     ///< not positive definite, NaN in a loss, ...
  kHostMemory = 23,    ///< an allocation on the host failed
  kDeviceMemory = 24,  ///< an allocation on the device failed
  kStorage = 25,       ///< the result could not be written: the driver starts no further trial
  kInternal = 26,      ///< a bug
  kDevice = 27,        ///< the device failed (ECC, fallen off the bus, illegal access)
  kInputChanged = 28,  ///< an input no longer has the fingerprint that the plan was made with
};

/// The code for an exception that ends a trial; messages of torch about memory and CUDA are recognised by their words.
WorkerExit worker_exit_for(const std::exception& error);

/// Short name of a failure: "config", "input", "numerical", "oom_host", "oom_device", "storage", "internal", "device",
/// "input_changed".
std::string_view failure_class(WorkerExit code);

struct FailureNote {
  std::string failure_class;
  std::string message;
};
/// Leaves the reason in the attempt's folder, for the driver. Never throws: on a full disk the exit code must do.
void write_failure_note(const std::filesystem::path& attempt_dir, WorkerExit code, std::string_view message) noexcept;
/// Nothing when there is none or it is damaged.
std::optional<FailureNote> read_failure_note(const std::filesystem::path& attempt_dir);

inline constexpr double kHeartbeatIntervalS = 5.0;
/// Interval in force: AQLM_EXP_HEARTBEAT_S, or the default.
double heartbeat_interval_s();

struct Beat {
  uint64_t counter = 0;  ///< grows with each beat
  std::string stage;     ///< latest report_progress()
  int64_t done = 0, total = 0;
};
/// Nothing when the file is absent or not a heartbeat.
std::optional<Beat> read_heartbeat(const std::filesystem::path& attempt_dir);

/// Worker side: a thread that rewrites `attempt_dir/heartbeat` (a counter, then the latest progress) every interval,
/// and the receiver of report_progress() for as long as it lives. 256 bytes, rewritten in place; no effect on the
/// results.
class Heartbeat {
 public:
  /// @throws StorageError if the file cannot be made
  explicit Heartbeat(const std::filesystem::path& attempt_dir, double interval_s = heartbeat_interval_s());
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;
  ~Heartbeat();

 private:
  void beat_until_stopped();
  void write_beat();  // with mutex_ held

  int fd_ = -1;
  double interval_s_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
  Beat beat_;
  double last_written_s_ = 0;
  std::thread thread_;
};

}  // namespace aqlm_exp::plan
