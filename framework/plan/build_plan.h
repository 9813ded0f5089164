// A composed sweep becomes a plan: each point checked against the schema, its paths resolved, its identity hashed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/config/check.h"
#include "framework/config/compose.h"
#include "framework/plan/plan_file.h"

namespace aqlm_exp::plan {

/// Version of the identity's format; a change gives every trial a new id.
inline constexpr int64_t kIdentityVersion = 1;

struct PlanRequest {
  const config::Sweep* sweep = nullptr;
  const config::Object* schema = nullptr;  ///< of a trial
  config::PathRules paths;
  std::filesystem::path config_file;
  std::vector<std::string> arguments;  ///< of the command, for people
  std::string writer, build_id;
  bool trust_fingerprints = true;  ///< false: read every input again
};

/// Points that turn out to be the same trial are merged and counted.
/// @throws config::CompositionError with the faults of every point; DataError for an input that is not there
Plan build_plan(const PlanRequest& request);

/// Canonical JSON: {"v", "components", "config", "inputs", "repeat"}; its SHA-256 is the trial's id. Same data, same
/// text, on every machine.
std::string identity_text(const config::Node& coerced, const config::Object& schema,
                          const std::vector<InputFile>& inputs, int64_t repeat);

}  // namespace aqlm_exp::plan
