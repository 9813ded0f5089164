// The table at the end of a run, from result files alone.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "framework/results/record.h"
#include "framework/results/sidecar.h"

namespace aqlm_exp::analysis {

struct TableOptions {
  std::vector<double> budgets = {2.25, 3.25, 4.25};  ///< upper bounds in bits per weight, ascending
  size_t width = 0;                                  ///< cells a line may take; 0: any
  bool bold = false;                                 ///< escape sequences may be used
};

/// One table for each pair of model and perplexity convention (numbers of two conventions are not comparable, and are
/// never ranked together), the convention in its caption: the unquantised model first, then the trials by bit budget,
/// each budget sorted by KL divergence (by perplexity where a trial of the budget lacks KL), its best marked "*". NaN
/// ranks last and is shown. Failures follow with their reasons.
std::string final_table(const std::vector<results::TrialRecord>& records, const std::vector<results::Sidecar>& failures,
                        const TableOptions& options);

/// Index into `budgets` for a number of bits; budgets.size() when it is above all of them.
size_t budget_of(double bits, const std::vector<double>& budgets);

/// How the perplexity of a record was computed, without the convention's name that its description begins with.
std::string convention_text(const results::TrialRecord& record);

}  // namespace aqlm_exp::analysis
