#include "framework/results/storage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "framework/base/error.h"
#include "framework/base/sha256.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#endif

namespace aqlm_exp::results {

namespace fs = std::filesystem;

int FileSystem::open(const std::string& path, int flags, mode_t mode) {
  return ::open(path.c_str(), flags | O_CLOEXEC, mode);
}
ssize_t FileSystem::write(int fd, const void* bytes, size_t size) { return ::write(fd, bytes, size); }
int FileSystem::fsync(int fd) { return ::fsync(fd); }
int FileSystem::close(int fd) { return ::close(fd); }
int FileSystem::rename(const std::string& from, const std::string& to) { return ::rename(from.c_str(), to.c_str()); }
int FileSystem::rename_noreplace(const std::string& from, const std::string& to) {
  if (::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != ENOSYS && errno != EINVAL && errno != ENOTSUP) return -1;
  if (::link(from.c_str(), to.c_str()) != 0) return -1;
  return ::unlink(from.c_str());
}
int FileSystem::unlink(const std::string& path) { return ::unlink(path.c_str()); }
int FileSystem::mkdir(const std::string& path, mode_t mode) { return ::mkdir(path.c_str(), mode); }

FileSystem& system_files() {
  static FileSystem instance;
  return instance;
}

std::string temporary_name() {
  uint64_t bits = 0;
  if (::getrandom(&bits, sizeof bits, 0) != static_cast<ssize_t>(sizeof bits)) {
    throw InternalError(fmt::format("[storage] getrandom failed: {}", std::strerror(errno)));
  }
  return fmt::format(".tmp-{:016x}", bits);
}

std::string free_space_text(const fs::path& path) {
  fs::path folder = path;
  struct statvfs info {};
  while (::statvfs(folder.c_str(), &info) != 0 && folder.has_parent_path() && folder != folder.parent_path()) {
    folder = folder.parent_path();
  }
  if (folder.empty()) folder = ".";
  if (::statvfs(folder.c_str(), &info) != 0) return "";
  return fmt::format("{} bytes free in {}", static_cast<uint64_t>(info.f_bavail) * info.f_frsize, folder.string());
}

std::string describe_io_failure(std::string_view what, const fs::path& path, int error) {
  std::string text = fmt::format("{} {}: {}", what, path.string(), std::strerror(error));
  const std::string space = free_space_text(path);
  if (!space.empty()) text += " (" + space + ")";
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return text + "; free some space, then start the same command again";
    case EROFS:
    case EACCES:
    case EPERM:
      return text + "; need a folder that can be written, name another with -o";
    case EIO:
      return text + "; the device reported an error, look at the kernel log before trusting it again";
    default:
      return text + "; start the same command again once this is mended";
  }
}

namespace {

/// Owns a descriptor; close() reports, the destructor only closes.
class Descriptor {
 public:
  Descriptor(FileSystem& files, int fd) : files_(files), fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) files_.close(fd_);
  }
  int get() const { return fd_; }
  int close() {
    const int fd = fd_;
    fd_ = -1;
    return files_.close(fd);
  }

 private:
  FileSystem& files_;
  int fd_;
};

[[noreturn]] void fail(std::string_view what, const fs::path& path, int error) {
  throw StorageError(describe_io_failure(what, path, error), error == ENOSPC || error == EDQUOT ? "R-SPACE" : "R-IO");
}

int open_uninterrupted(FileSystem& files, const std::string& path, int flags) {
  int fd;
  do {
    fd = files.open(path, flags, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

int fsync_uninterrupted(FileSystem& files, int fd) {
  int result;
  do {
    result = files.fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result;
}

void write_all(FileSystem& files, int fd, std::string_view bytes, const fs::path& shown) {
  while (!bytes.empty()) {
    const ssize_t written = files.write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail("write", shown, errno);
    }
    if (written == 0) fail("write", shown, ENOSPC);  // a write of n > 0 bytes that takes none will never finish
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

}  // namespace

void sync_folder(const fs::path& folder, FileSystem& files) {
  const std::string name = folder.empty() ? std::string(".") : folder.string();
  Descriptor fd(files, open_uninterrupted(files, name, O_RDONLY | O_DIRECTORY));
  if (fd.get() < 0) fail("open folder", name, errno);
  if (fsync_uninterrupted(files, fd.get()) != 0 && errno != EINVAL)
    fail("fsync folder", name, errno);  // EINVAL: not supported there
  fd.close();
}

void make_folders(const fs::path& folder, FileSystem& files) {
  if (folder.empty()) return;
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return;
  const fs::path parent = folder.parent_path();
  if (parent != folder) make_folders(parent, files);
  if (files.mkdir(folder.string(), 0777) != 0) {
    const int error = errno;
    if (error == EEXIST && fs::is_directory(folder, ignored)) return;  // another process was faster
    fail("make folder", folder, error);
  }
  sync_folder(parent, files);
}

std::string read_file(const fs::path& path, size_t limit_bytes) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("open", path, errno);
  Descriptor guard(system_files(), fd);
  struct stat info {};
  if (::fstat(fd, &info) != 0) fail("stat", path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw StorageError(fmt::format("{}: not a regular file; remove it and start again", path.string()), "R-NOTFILE");
  }
  if (static_cast<uint64_t>(info.st_size) > limit_bytes) {
    throw StorageError(fmt::format("{}: got {} bytes, need at most {}", path.string(), info.st_size, limit_bytes),
                       "R-LIMIT");
  }
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::read(fd, bytes.data() + done, bytes.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path, errno);
    if (got == 0) break;  // shrank meanwhile
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

PutResult put_file(const fs::path& path, std::string_view bytes, IfPresent if_present, FileSystem& files) {
  const fs::path folder = path.parent_path();
  const fs::path temporary = folder / temporary_name();
  Descriptor fd(files, open_uninterrupted(files, temporary.string(), O_WRONLY | O_CREAT | O_EXCL));
  if (fd.get() < 0) fail("create", temporary, errno);
  try {
    write_all(files, fd.get(), bytes, path);
    // A failed fsync means the pages may be gone and marked clean: never call it again on this file, write a new one.
    if (fsync_uninterrupted(files, fd.get()) != 0) fail("fsync", path, errno);
    if (fd.close() != 0) fail("close", path, errno);
    if (sha256_hex(read_file(temporary)) != sha256_hex(bytes)) {
      throw StorageError(
          fmt::format("{}: {} bytes were written and synchronised, but read back differently; the disk or "
                      "its driver is faulty, use another one",
                      path.string(), bytes.size()),
          "R-READBACK");
    }
    if (if_present == IfPresent::kReplace) {
      if (files.rename(temporary.string(), path.string()) != 0) fail("rename to", path, errno);
    } else if (files.rename_noreplace(temporary.string(), path.string()) != 0) {
      if (errno != EEXIST) fail("rename to", path, errno);
      files.unlink(temporary.string());
      return PutResult::kAlreadyThere;
    }
  } catch (...) {
    files.unlink(temporary.string());
    throw;
  }
  sync_folder(folder, files);
  return PutResult::kWritten;
}

}  // namespace aqlm_exp::results
