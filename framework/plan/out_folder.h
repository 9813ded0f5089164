// The output folder of a sweep: its paths, the one-driver lock and the journal. The file system is the truth; the
// journal is a plain log for people that nothing reads back.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/base/error.h"
#include "framework/results/storage.h"

namespace aqlm_exp::plan {

struct OutFolder {
  std::filesystem::path root;

  std::filesystem::path plan_file() const { return root / "sweep.json"; }
  std::filesystem::path lock_file() const { return root / "lock"; }
  std::filesystem::path journal_file() const { return root / "journal.jsonl"; }
  std::filesystem::path results_dir() const { return root / "results"; }
  std::filesystem::path quarantine_dir() const { return root / "quarantine"; }
  std::filesystem::path slurm_dir() const { return root / "slurm"; }
  std::filesystem::path merged_file() const { return root / "sweep.h5"; }
  std::filesystem::path trial_dir(std::string_view id) const;
  std::filesystem::path attempt_dir(std::string_view id, int64_t attempt) const;
};

/// Another driver works on the folder; exit code 6.
class LockedError : public Error {
 public:
  explicit LockedError(const std::string& message) : Error(ExitCode::kLocked, "P-LOCKED", message) {}
};

/// Holds OUT/lock by flock for as long as it lives: the kernel frees it however this process ends, and workers do not
/// inherit it (close-on-exec). The file's contents (host, pid, start, command) are for messages only.
class FolderLock {
 public:
  /// @throws LockedError naming the holder; StorageError if the folder cannot be written or does not lock
  FolderLock(const OutFolder& out, const std::string& command);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int fd_ = -1;
};

/// Whether a driver holds the lock now, and what it wrote about itself. Changes nothing.
struct Holder {
  bool held = false;
  std::string description;
};
Holder lock_holder(const OutFolder& out);

/// Appends events, each a JSON object on one line with a CRC-32C at its end. A full disk does not stop a sweep here:
/// the first failure is a warning.
class Journal {
 public:
  Journal(std::filesystem::path file, results::FileSystem& files);
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;
  ~Journal();
  using Fields = std::vector<std::pair<std::string, std::string>>;
  void write(std::string_view event, const Fields& fields);

 private:
  std::filesystem::path path_;
  results::FileSystem& files_;
  int fd_ = -1;
  bool warned_ = false;
};

/// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78).
uint32_t crc32c(std::string_view bytes);

/// "2026-11-24T12:00:00.123Z"
std::string utc_now_ms();

}  // namespace aqlm_exp::plan
