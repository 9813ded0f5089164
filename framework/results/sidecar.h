// The small file beside each result: what happened to a trial, and the hash that the result must have.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/results/storage.h"

namespace aqlm_exp::results {

struct Sidecar {
  std::string id = {};  ///< 64 digits
  std::string name = {};
  std::string status = {};  ///< completed | failed | timed_out | oom | cancelled | lost
  std::string failure_class =
      {};                    ///< what kind of failure: "numerical", "crashed", "oom_host", ...; empty when completed
  std::string message = {};  ///< the reason in one sentence
  int64_t attempt = 1;
  int64_t exit_code = -1;  ///< of a failed worker; -1: it did not exit by itself
  int64_t signal = 0;      ///< that ended a failed worker; 0: none
  double duration_s = 0;
  std::string build_id = {};
  std::string sha256 = {};  ///< of results/<id16>.h5; empty unless completed
  uint64_t size_bytes = 0;
  std::vector<std::string> log_tail = {};  ///< last lines of a failed worker's stderr
  std::vector<std::string> overrides = {};
};

/// JSON of one line with a checksum over itself, so that any damage shows.
std::string sidecar_text(const Sidecar& sidecar);
/// @throws StorageError if the text is damaged; Error with kVersion for a newer format
Sidecar parse_sidecar(std::string_view text, const std::string& shown_name);

std::filesystem::path result_path(const std::filesystem::path& results_dir, std::string_view trial_id);
std::filesystem::path sidecar_path(const std::filesystem::path& results_dir, std::string_view trial_id);

/// Files a failure; replaces an earlier attempt's failure, never a completed result.
void publish_failure(const Sidecar& sidecar, const std::filesystem::path& results_dir,
                     FileSystem& files = system_files());

}  // namespace aqlm_exp::results
