// Files from outside: only regular files are opened, maps survive a file that shrinks, writes are atomic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace aqlm_exp {

/// Reads a whole regular file. A symbolic link to a regular file is followed (Hugging Face caches are made of them); a
/// folder, device, FIFO, socket or a link loop is refused without being opened.
/// @param area  first part of error codes: "T" gives T-NOTFILE, T-MISSING, T-DENIED, T-LARGE, T-CHANGED, T-READ
/// @throws DataError
std::string read_regular_file(const std::filesystem::path& path, uint64_t max_bytes, std::string_view area);

/// A regular file mapped read-only. Should another process shorten the file, reads of the lost part give zeros in place
/// of killing the process, and check_unchanged() reports it.
class MappedFile {
 public:
  /// @param area  as in read_regular_file
  MappedFile(const std::filesystem::path& path, std::string_view area);

  std::span<const std::byte> bytes() const;
  const std::filesystem::path& path() const;
  uint64_t size_bytes() const { return bytes().size(); }
  /// @throws DataError (area-CHANGED) if the file's size or modification time is not what it was at opening, or if a
  /// read
  ///         hit a part that is gone
  void check_unchanged() const;
  /// Lets the system drop the pages of a range that will not be read again soon; they are read back from the file if
  /// needed.
  void release(uint64_t offset, uint64_t size_bytes) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

/// Gives a writer pieces of the file in order.
using ByteSink = std::function<void(std::span<const std::byte>)>;

/// Writes a file so that readers see the old one or the whole new one: temporary file beside it, fsync, rename, fsync
/// of the folder. The temporary file is removed if anything fails. @throws StorageError, and whatever `write` throws
void write_file_atomically(const std::filesystem::path& path, const std::function<void(const ByteSink&)>& write);
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace aqlm_exp
