// From a freshly made plan and a folder to a run: freezes the plan, or compares it with the one that is already there.
#pragma once

#include <string>
#include <vector>

#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/scan.h"

namespace aqlm_exp::plan {

/// How two plans differ. A changed trial has the same swept keys and repeat but another identity.
struct PlanDifference {
  std::vector<const PlannedTrial*> added, removed;
  std::vector<std::pair<const PlannedTrial*, const PlannedTrial*>> changed;  ///< stored, fresh
  bool empty() const { return added.empty() && removed.empty() && changed.empty(); }
};
PlanDifference compare(const Plan& stored, const Plan& fresh);
/// One line a trial: "+ method=hqq  1a2b...", "- ...", "~ ...: quant.nbits 3 -> 4".
std::string describe(const PlanDifference& difference);

struct Prepared {
  Plan plan;
  Scan scan;
  bool resumed = false;
  std::vector<std::string> notes;  ///< what was put in order, for people
};

/// What happens to results of another build.
enum class CodeMismatch { kReuse, kRerun, kFail };

struct PrepareOptions {
  bool extend = false;  ///< add the trials of `fresh` that the folder's plan lacks
  CodeMismatch code_mismatch = CodeMismatch::kReuse;
};

/// Needs the folder's lock. Writes sweep.json where there is none; otherwise verifies every published result and sets
/// damaged ones aside.
/// @throws ConfigError listing the differences when the plan changed and `extend` is off; StorageError
Prepared prepare(const Plan& fresh, const OutFolder& out, const PrepareOptions& options,
                 results::FileSystem& files = results::system_files());

}  // namespace aqlm_exp::plan
