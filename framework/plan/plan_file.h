// The frozen plan of a sweep, OUT/sweep.json: written once, read by resumes and by every worker.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"

namespace aqlm_exp::plan {

inline constexpr int64_t kPlanVersion = 1;

/// A file or folder whose contents are part of a trial's identity.
struct InputFile {
  std::string key;          ///< dotted key of the configuration: "model.path"
  std::string path;         ///< absolute
  std::string fingerprint;  ///< SHA-256 over its contents
};

struct KeyOrigin {
  std::string key;   ///< dotted
  std::string file;  ///< or "override #2"
  int64_t line = 0;
};

/// One resolved configuration.
struct PlannedTrial {
  std::string id;                          ///< SHA-256 of `identity`, 64 digits
  std::string name;                        ///< for people
  std::vector<std::string> overrides;      ///< the swept keys of this trial
  std::vector<std::string> all_overrides;  ///< with the fixed ones of the command line: give the same tree when typed
  int64_t repeat = 0;
  std::string identity;  ///< canonical JSON
  config::Node tree;     ///< resolved, coerced, with fallbacks filled in
  std::vector<InputFile> inputs;
  std::vector<KeyOrigin> origin;
};

struct ConfigFile {
  std::string path;
  std::string sha256;
};

struct Plan {
  std::string writer;  ///< program and version
  std::string build_id;
  std::string created_utc;
  std::string config_file;             ///< primary file
  std::vector<std::string> arguments;  ///< of the command that made the plan
  std::vector<ConfigFile> files;
  config::Node exp;        ///< the reserved node, as composed
  int64_t num_merged = 0;  ///< combinations that were the same trial as an earlier one
  std::vector<PlannedTrial> trials;

  const PlannedTrial* find(std::string_view id) const;
};

/// JSON, each trial on a line of its own, a SHA-256 over the rest at the end. @throws InternalError if two trials share
/// an id or the first 16 digits of one
std::string plan_text(const Plan& plan);
/// @throws StorageError if damaged; Error with kVersion for a newer format
Plan parse_plan(std::string_view text, const std::string& shown_name);
Plan load_plan(const std::filesystem::path& file);

/// Only the trial `id` (64 digits, or a prefix that is unique): a worker does not build 10,000 other trees.
/// @throws DataError if the plan has none, or several, of that id
PlannedTrial load_trial(const std::filesystem::path& plan_file, std::string_view id);

/// The tree as YAML (block style, strings quoted where needed), for people and for config/yaml of the result.
std::string to_yaml(const config::Node& tree);

}  // namespace aqlm_exp::plan
