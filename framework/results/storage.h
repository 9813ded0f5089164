// The few system calls that the result store, the plan and the journal make on files, behind one interface: production
// uses the kernel, tests record them, replay prefixes of them, or let the n-th fail.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace aqlm_exp::results {

/// Each call answers like the system call of its name: -1 with errno on failure.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual int open(const std::string& path, int flags, mode_t mode);  ///< O_CLOEXEC is added
  virtual ssize_t write(int fd, const void* bytes, size_t size);
  virtual int fsync(int fd);
  virtual int close(int fd);
  virtual int rename(const std::string& from, const std::string& to);
  /// Fails with EEXIST when `to` exists: renameat2(RENAME_NOREPLACE), or link and unlink where that is unsupported.
  virtual int rename_noreplace(const std::string& from, const std::string& to);
  virtual int unlink(const std::string& path);
  virtual int mkdir(const std::string& path, mode_t mode);
};

FileSystem& system_files();

enum class IfPresent { kFail, kReplace };
enum class PutResult { kWritten, kAlreadyThere };

/// Puts `bytes` under `path` so that a reader sees all of them or nothing, also after a power cut: `.tmp-*` in the same
/// folder, write, fsync, close, read back and compare SHA-256, rename, fsync of the folder. The temporary is removed on
/// failure.
/// @return kAlreadyThere, nothing changed, when `path` exists and `if_present` is kFail
/// @throws StorageError naming the path, the reason and the free bytes
PutResult put_file(const std::filesystem::path& path, std::string_view bytes, IfPresent if_present,
                   FileSystem& files = system_files());

/// Makes the entries of a folder durable. @throws StorageError
void sync_folder(const std::filesystem::path& folder, FileSystem& files = system_files());

/// mkdir -p, each new level made durable. @throws StorageError
void make_folders(const std::filesystem::path& folder, FileSystem& files = system_files());

/// The whole file. @throws StorageError, also for anything but a regular file or more than `limit_bytes`
std::string read_file(const std::filesystem::path& path, size_t limit_bytes = size_t{1} << 30);

/// "write results/x.h5: No space left on device (12288 bytes free in results); free some space and run again"
std::string describe_io_failure(std::string_view what, const std::filesystem::path& path, int error);

/// "12288 bytes free in results", for the nearest existing folder; empty when that is unknown.
std::string free_space_text(const std::filesystem::path& path);

/// A name such as ".tmp-3f9c01d2a4b5e677", different on every call and in every process.
std::string temporary_name();

}  // namespace aqlm_exp::results
