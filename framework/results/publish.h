// Makes a trial's record durable: results/<id16>.h5, then the sidecar results/<id16>.json that acknowledges it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "framework/results/record.h"
#include "framework/results/storage.h"

namespace aqlm_exp::results {

inline constexpr size_t kMaxResultBytes = size_t{256} << 20;

/// The HDF5 file of one record, built in memory. Same record (with created_utc set), same bytes.
/// @throws InternalError if the record breaks the schema: a name, a shape, text that is not UTF-8, over 256 MiB
std::string record_image(const TrialRecord& record);

struct Published {
  std::filesystem::path file;  ///< results/<id16>.h5
  std::string sha256;
  uint64_t size_bytes = 0;
  bool already_there = false;  ///< another worker had published this trial: nothing was changed, this record is dropped
};

/// Builds the image and puts it and its sidecar into `results_dir` (made if it is missing), each durably and never over
/// an existing file.
/// @throws StorageError naming path, reason and free space; nothing is left half-published
Published publish(const TrialRecord& record, const std::filesystem::path& results_dir,
                  FileSystem& files = system_files());

/// Reads a published result after comparing it with its sidecar. @throws StorageError if size or SHA-256 differ
TrialRecord read_published(const std::filesystem::path& results_dir, const std::string& trial_id);

/// Reads the record in `image`, whose SHA-256 was checked. @throws StorageError; Error with kVersion for a newer format
TrialRecord read_image(std::string_view image, const std::string& shown_name);

/// The deterministic part as text, one line a value: equal for two runs of one trial.
std::string deterministic_text(const TrialRecord& record);

}  // namespace aqlm_exp::results
