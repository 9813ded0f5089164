// Where a result came from: program, libraries, machine.
#pragma once

#include "framework/results/record.h"

namespace aqlm_exp::trial {

/// Fills writer, build_id and the provenance entries that do not depend on the trial.
void add_provenance(results::TrialRecord& record);

}  // namespace aqlm_exp::trial
