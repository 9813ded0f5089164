#include "framework/plan/worker_protocol.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/results/storage.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::plan {
namespace {

constexpr size_t kBeatBytes = 256;  // one write within a page: readers never see half of it in practice
constexpr char kBeatMagic[8] = {'A', 'Q', 'B', 'E', 'A', 'T', '0', '1'};
constexpr size_t kStageBytes = 200;
constexpr double kLeastGapS = 0.1;  // between two writes caused by progress

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

WorkerExit worker_exit_for(const std::exception& error) {
  if (dynamic_cast<const NumericalError*>(&error) != nullptr) return WorkerExit::kNumerical;
  if (dynamic_cast<const StorageError*>(&error) != nullptr) return WorkerExit::kStorage;
  if (const auto* ours = dynamic_cast<const Error*>(&error)) {
    if (ours->code() == "T-CHANGED") return WorkerExit::kInputChanged;
    switch (ours->exit_code()) {
      case ExitCode::kUsage:
      case ExitCode::kConfig:
        return WorkerExit::kConfig;
      case ExitCode::kInput:
        return WorkerExit::kInput;
      case ExitCode::kStorage:
        return WorkerExit::kStorage;
      default:
        return WorkerExit::kInternal;
    }
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return WorkerExit::kHostMemory;
  const std::string_view what = error.what();
  if (contains(what, "CUDA out of memory") || contains(what, "CUDNN_STATUS_ALLOC_FAILED") ||
      contains(what, "CUBLAS_STATUS_ALLOC_FAILED")) {
    return WorkerExit::kDeviceMemory;
  }
  if (contains(what, "DefaultCPUAllocator: can't allocate memory") || contains(what, "not enough memory")) {
    return WorkerExit::kHostMemory;
  }
  if (contains(what, "CUDA error") || contains(what, "cuDNN error") || contains(what, "CUBLAS_STATUS")) {
    return WorkerExit::kDevice;
  }
  return WorkerExit::kInternal;
}

std::string_view failure_class(WorkerExit code) {
  switch (code) {
    case WorkerExit::kOk:
      return "";
    case WorkerExit::kConfig:
      return "config";
    case WorkerExit::kInput:
      return "input";
    case WorkerExit::kNumerical:
      return "numerical";
    case WorkerExit::kHostMemory:
      return "oom_host";
    case WorkerExit::kDeviceMemory:
      return "oom_device";
    case WorkerExit::kStorage:
      return "storage";
    case WorkerExit::kInternal:
      return "internal";
    case WorkerExit::kDevice:
      return "device";
    case WorkerExit::kInputChanged:
      return "input_changed";
  }
  return "internal";
}

void write_failure_note(const std::filesystem::path& attempt_dir, WorkerExit code, std::string_view message) noexcept {
  try {
    nlohmann::ordered_json json;
    json["class"] = failure_class(code);
    json["message"] = results::clean_text(message);
    results::put_file(attempt_dir / "failure.json", json.dump() + "\n", results::IfPresent::kReplace);
  } catch (const std::exception& error) {
    log_warning("the reason of the failure could not be stored: {}", error.what());
  }
}

std::optional<FailureNote> read_failure_note(const std::filesystem::path& attempt_dir) {
  try {
    const std::string text = results::read_file(attempt_dir / "failure.json", 1 << 20);
    const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object()) return std::nullopt;
    return FailureNote{.failure_class = json.value("class", ""), .message = json.value("message", "")};
  } catch (const std::exception&) {
    return std::nullopt;  // absent, or a wrong type inside: the exit code still tells the class
  }
}

double heartbeat_interval_s() {
  if (const char* text = std::getenv("AQLM_EXP_HEARTBEAT_S")) {
    char* end = nullptr;
    const double value = std::strtod(text, &end);
    if (end != text && *end == '\0' && value >= 0.01 && value <= 3600) return value;
    throw UsageError(fmt::format("AQLM_EXP_HEARTBEAT_S: got \"{}\", need seconds from 0.01 to 3600", text));
  }
  return kHeartbeatIntervalS;
}

std::optional<Beat> read_heartbeat(const std::filesystem::path& attempt_dir) {
  const int fd = ::open((attempt_dir / "heartbeat").c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  char bytes[kBeatBytes];
  const ssize_t got = ::pread(fd, bytes, sizeof bytes, 0);
  ::close(fd);
  if (got != static_cast<ssize_t>(sizeof bytes)) return std::nullopt;
  if (std::memcmp(bytes + 8, kBeatMagic, sizeof kBeatMagic) != 0) return std::nullopt;
  Beat beat;
  std::memcpy(&beat.counter, bytes, 8);
  std::memcpy(&beat.done, bytes + 16, 8);
  std::memcpy(&beat.total, bytes + 24, 8);
  beat.stage = results::clean_text(std::string_view(bytes + 32, ::strnlen(bytes + 32, kStageBytes)));
  return beat;
}

Heartbeat::Heartbeat(const std::filesystem::path& attempt_dir, double interval_s) : interval_s_(interval_s) {
  const std::filesystem::path path = attempt_dir / "heartbeat";
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) throw StorageError(results::describe_io_failure("create", path, errno), "R-IO");
  {
    std::lock_guard lock(mutex_);
    write_beat();
  }
  thread_ = std::thread([this] { beat_until_stopped(); });
  set_progress_sink([this](std::string_view stage, int64_t done, int64_t total) {
    std::lock_guard lock(mutex_);
    const bool new_stage = beat_.stage != stage;
    beat_.stage.assign(stage.substr(0, kStageBytes));
    beat_.done = done;
    beat_.total = total;
    if (new_stage || done == total || now_s() - last_written_s_ >= kLeastGapS) write_beat();
  });
}

Heartbeat::~Heartbeat() {
  set_progress_sink({});
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_all();
  thread_.join();
  ::close(fd_);
}

void Heartbeat::beat_until_stopped() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::duration<double>(interval_s_), [this] { return stopped_; })) write_beat();
}

void Heartbeat::write_beat() {
  ++beat_.counter;
  char bytes[kBeatBytes] = {};
  std::memcpy(bytes, &beat_.counter, 8);
  std::memcpy(bytes + 8, kBeatMagic, sizeof kBeatMagic);
  std::memcpy(bytes + 16, &beat_.done, 8);
  std::memcpy(bytes + 24, &beat_.total, 8);
  beat_.stage.copy(bytes + 32, kStageBytes);
  // A lost beat (full disk) must not end a trial that may still publish; the driver notices silence by itself.
  [[maybe_unused]] const ssize_t written = ::pwrite(fd_, bytes, sizeof bytes, 0);
  last_written_s_ = now_s();
}

}  // namespace aqlm_exp::plan
