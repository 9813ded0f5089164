// A configuration file, as users name it, with overrides: expanded, then planned.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/config/compose.h"
#include "framework/config/schema.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/settings.h"

namespace aqlm_exp::plan {

struct ConfigRequest {
  std::string file;  ///< a path, or "builtin:configs/..."
  std::vector<std::string> overrides = {};
  std::vector<std::string> config_dirs = {};  ///< roots before the installed one
  size_t max_trials = 10000;
  config::YamlLimits limits = {};
  bool trust_fingerprints = true;
  std::vector<std::string> command_line = {};  ///< for people
};

struct ExpandedConfig {
  std::filesystem::path file;
  config::Sweep sweep;
  ExpSettings settings;
};

/// @param example  a file to name in the error when there is none
/// @throws ConfigError D101 if the file is no regular file; config::CompositionError
ExpandedConfig expand_config(const ConfigRequest& request, const std::string& example);

/// @param schema  of a trial
/// @throws as build_plan
Plan plan_config(const ConfigRequest& request, const ExpandedConfig& expanded, const config::Object& schema);

}  // namespace aqlm_exp::plan
