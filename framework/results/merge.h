// One file for all trials of a sweep: sweep.h5, a cache that can always be rebuilt from results/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "framework/results/sidecar.h"
#include "framework/results/storage.h"

namespace aqlm_exp::results {

/// A planned trial and what became of it; in plan order.
struct MergeRow {
  std::string id;  ///< 64 digits
  std::string name;
  int64_t repeat = 0;
  std::vector<std::string> overrides;  ///< swept keys, "quant.nbits=3"
  std::optional<Sidecar> sidecar;      ///< none: still to be run
};

struct MergeRequest {
  std::vector<MergeRow> rows;
  std::string plan_json;  ///< stored as /sweep/plan
  std::filesystem::path results_dir;
  std::filesystem::path target;  ///< OUT/sweep.h5
  std::string writer;
  std::string created_utc;
};

struct MergeReport {
  int64_t num_copied = 0;
  std::vector<std::string> unreadable;  ///< one line a result that failed its check and was left out
  bool was_current = false;             ///< nothing had changed: the file was left alone
};

/// Copies each verified result (H5Ocopy) into a new file beside `target`, adds summary/, sweep/plan and sweep/failures,
/// synchronises and renames it over `target`. `<target>.sha256` holds its hash and that of its sources, so that an
/// unchanged sweep is not merged again.
/// @throws StorageError
MergeReport merge(const MergeRequest& request, FileSystem& files = system_files());

}  // namespace aqlm_exp::results
