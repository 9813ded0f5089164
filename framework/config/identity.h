// What makes two trials the same trial: the hash of everything that decides their result (design/experiments.md 2.1).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/schema.h"

namespace aqlm_exp::config {

inline constexpr int64_t kIdentityVersion = 1;

struct IdentityParts {
  std::map<std::string, std::string> components;  ///< role → "registry name@schema version"
  Node config = Node::map();                      ///< identity_part() of the coerced tree
  std::map<std::string, std::string> inputs;      ///< dotted key of each input path → fingerprint of its contents
  int64_t repeat = 0;
};

/// {"v", "components", "config", "inputs", "repeat"} in canonical form.
std::string identity_text(const IdentityParts& parts);
/// SHA-256 of identity_text, 64 hex digits.
std::string trial_id(const IdentityParts& parts);

/// Fingerprints of input files and folders: SHA-256 of a file's bytes; of a folder, the SHA-256 of the canonical list
/// of [name, size, sha256] of its files, sorted by name. Of a folder of weights only what a loader reads counts: *.json
/// and
/// *.safetensors files, not below subfolders; of a folder without any of these, every regular file counts.
/// Hashes are remembered in a cache file by device, inode, size, mtime and ctime in ns; a file that was written within
/// the last two seconds is not remembered, because a later write may leave its times as they are.
class Fingerprints {
 public:
  /// @param cache_file "" for none; see default_cache_file()
  explicit Fingerprints(std::filesystem::path cache_file);
  /// Hashes all files again, whatever the cache says (--verify-inputs), and updates it.
  void set_verify(bool verify) { verify_ = verify; }
  /// @throws DataError if the path does not exist or holds nothing to hash
  std::string of(const std::filesystem::path& path);
  /// Writes what is new, atomically; another process's entries are kept. Failure is no fault: the cache only saves
  /// time.
  void save();

  int64_t num_hashed() const { return num_hashed_; }  ///< files whose bytes were read
  int64_t num_cached() const { return num_cached_; }

  /// $XDG_CACHE_HOME/aqlm-exp/fingerprints.txt, or below ~/.cache; "" if neither is set.
  static std::filesystem::path default_cache_file();

 private:
  std::string of_file(const std::filesystem::path& file);
  std::string of_folder(const std::filesystem::path& folder);

  std::filesystem::path cache_file_;
  std::map<std::string, std::string> cache_;  // "device inode size mtime_ns ctime_ns" → SHA-256
  std::map<std::string, std::string> added_;
  std::map<std::string, std::string> done_;  // by canonical path, of this object's life
  bool verify_ = false;
  int64_t num_hashed_ = 0;
  int64_t num_cached_ = 0;
};

/// Fingerprint of each input path of a coerced tree whose paths are absolute: dotted key → fingerprint.
std::map<std::string, std::string> fingerprint_inputs(const Node& coerced, const Object& schema,
                                                      Fingerprints& fingerprints);

}  // namespace aqlm_exp::config
