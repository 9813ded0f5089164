// From output folders to what analysis/ works on.
#pragma once

#include <string>
#include <vector>

#include "analysis/dataset.h"
#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"

namespace aqlm_exp::app {

/// Reads every planned trial of one or several output folders. Damaged results become rows with the reason; a trial
/// that several folders hold is taken from the first that completed it.
/// @param budgets empty: those of the first folder's configuration
/// @throws DataError when a folder holds no plan
analysis::Dataset load_dataset(const std::vector<std::string>& folders, const std::vector<double>& budgets);

/// The words of the command that gives one trial again.
std::vector<std::string> repro_words(const plan::Plan& plan, const plan::PlannedTrial& trial);

}  // namespace aqlm_exp::app
