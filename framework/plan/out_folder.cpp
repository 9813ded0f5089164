#include "framework/plan/out_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <nlohmann/json.hpp>

#include "framework/base/log.h"
#include "framework/results/record.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::plan {

using Json = nlohmann::ordered_json;

std::filesystem::path OutFolder::trial_dir(std::string_view id) const { return root / "trials" / results::id16(id); }

std::filesystem::path OutFolder::attempt_dir(std::string_view id, int64_t attempt) const {
  return trial_dir(id) / fmt::format("attempt-{}", attempt);
}

std::string utc_now_ms() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:03}Z", text, ms);
}

namespace {

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

std::string boot_id() {
  try {
    std::string text = results::read_file("/proc/sys/kernel/random/boot_id", 4096);
    if (text.empty()) {  // proc files report a size of 0
      const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
      char bytes[64];
      const ssize_t got = fd >= 0 ? ::read(fd, bytes, sizeof bytes) : -1;
      if (fd >= 0) ::close(fd);
      if (got > 0) text.assign(bytes, static_cast<size_t>(got));
    }
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  } catch (const Error&) {
    return "unknown";
  }
}

std::string describe_holder(const OutFolder& out) {
  std::string text;
  try {
    text = results::read_file(out.lock_file(), 1 << 16);
  } catch (const Error&) {
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return "another driver that is just starting";
  try {
    return fmt::format("pid {} on {}, started {}: {}", json.at("pid").get<int64_t>(),
                       json.at("host").get<std::string>(), json.at("started_utc").get<std::string>(),
                       json.at("command").get<std::string>());
  } catch (const nlohmann::json::exception&) {
    return "another driver that is just starting";
  }
}

}  // namespace

FolderLock::FolderLock(const OutFolder& out, const std::string& command) {
  const std::string path = out.lock_file().string();
  do {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EINTR);
  if (fd_ < 0) throw StorageError(results::describe_io_failure("open", path, errno), "P-LOCK");
  int result;
  do {
    result = ::flock(fd_, LOCK_EX | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  if (result != 0) {
    const int error = errno;
    ::close(fd_);
    fd_ = -1;
    if (error != EWOULDBLOCK) throw StorageError(results::describe_io_failure("flock", path, error), "P-LOCK");
    throw LockedError(fmt::format("{}: in use by {}; need it for this command alone; look on with `aqlm-exp status {}`",
                                  out.root.string(), describe_holder(out), out.root.string()));
  }
  // Some network file systems accept every lock. A second descriptor must be refused.
  const int probe = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  const bool excluded = probe >= 0 && ::flock(probe, LOCK_EX | LOCK_NB) != 0;
  if (probe >= 0) ::close(probe);
  if (!excluded) {
    ::close(fd_);
    fd_ = -1;
    throw StorageError(fmt::format("{}: this file system grants one lock twice; two drivers could meet there, name a "
                                   "folder on a local disk with -o",
                                   path),
                       "P-LOCK");
  }
  Json json;
  json["host"] = host_name();
  json["pid"] = ::getpid();
  json["started_utc"] = utc_now_ms();
  json["boot_id"] = boot_id();
  json["command"] = results::clean_text(command);
  const std::string text = json.dump() + "\n";
  // Information only: a full disk must not keep a driver from reporting it properly later.
  if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    log_debug("{}: the holder could not be noted: {}", path, std::strerror(errno));
  }
}

FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

Holder lock_holder(const OutFolder& out) {
  const int fd = ::open(out.lock_file().c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const bool held = ::flock(fd, LOCK_SH | LOCK_NB) != 0;
  ::close(fd);
  return held ? Holder{.held = true, .description = describe_holder(out)} : Holder{};
}

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0u);
      table[i] = value;
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF];
  return ~crc;
}

Journal::Journal(std::filesystem::path file, results::FileSystem& files) : path_(std::move(file)), files_(files) {
  fd_ = files_.open(path_.string(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  struct stat info {};
  if (fd_ >= 0 && ::fstat(fd_, &info) == 0 && info.st_size > 0) {
    const int reader = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    char last = '\n';
    if (reader >= 0 && ::pread(reader, &last, 1, info.st_size - 1) == 1 && last != '\n') {
      files_.write(fd_, "\n", 1);  // a line torn by a kill stays alone on its line
    }
    if (reader >= 0) ::close(reader);
  }
}

Journal::~Journal() {
  if (fd_ >= 0) files_.close(fd_);
}

void Journal::write(std::string_view event, const Fields& fields) {
  Json json;
  json["v"] = 1;
  json["t"] = utc_now_ms();
  json["ev"] = event;
  for (const auto& [key, value] : fields) json[key] = results::clean_text(value);
  std::string line = json.dump();
  line.pop_back();
  line += fmt::format(",\"crc32c\":\"{:08x}\"}}\n", crc32c(line));
  const bool written = fd_ >= 0 && files_.write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  if (!written && !warned_) {
    warned_ = true;
    log_warning("{}; the sweep goes on without it", results::describe_io_failure("append to", path_, errno));
  }
}

}  // namespace aqlm_exp::plan
