// What the contents of a trial's inputs are, as hashes: part of its identity.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace aqlm_exp::plan {

/// SHA-256 of a file; for a folder the SHA-256 of the sorted lines "name size sha256" of the regular files right in it,
/// hidden ones, *.md and LICENSE* left out. Hashes of files above 1 MiB are remembered in the user's cache folder
/// ($XDG_CACHE_HOME/aqlm-exp/fingerprints or ~/.cache/...) under device, inode, size, mtime and ctime.
class Fingerprinter {
 public:
  /// @param trust_cache false: read every byte again (--verify-inputs)
  explicit Fingerprinter(bool trust_cache = true) : trust_cache_(trust_cache) {}
  /// @throws DataError if the path is neither file nor folder, or cannot be read
  std::string of(const std::filesystem::path& path);

 private:
  std::string of_file(const std::filesystem::path& file);
  bool trust_cache_;
  std::map<std::filesystem::path, std::string> known_;  // one sweep names the same model many times
};

}  // namespace aqlm_exp::plan
