// A composed sweep becomes a plan: each point checked against the schema, its paths resolved, its identity hashed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/config/check.h"
#include "framework/config/compose.h"
#include "framework/plan/plan_file.h"

namespace aqlm_exp::plan {

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

/// Compares the inputs of a trial with the fingerprints that its plan was made with. Quick for files that were hashed
/// before and kept their size and times. @throws DataError with code "T-CHANGED"
void check_inputs(const PlannedTrial& trial);

}  // namespace aqlm_exp::plan
