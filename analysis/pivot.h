// Pivot tables: one value by two keys.
#pragma once

#include <string>
#include <vector>

#include "analysis/flat_table.h"

namespace aqlm_exp::analysis {

struct PivotSpec {
  std::string rows,
      cols;           ///< columns of the trial table, swept keys or any key of the configuration; cols may be empty
  std::string value;  ///< a column of numbers, or a key of the configuration that holds them
  std::string aggregate = "median";  ///< median, mean, min, max or count
};

/// Reads words such as "rows=model", "cols=quant.nbits", "value=ppl", "agg=mean". @throws UsageError
PivotSpec parse_pivot(const std::vector<std::string>& words);

struct PivotCell {
  double value = results::kAbsent;
  size_t num_trials = 0;  ///< behind the value; 0: no such combination
};
/// Trials of different conventions, hardware or builds never meet in one table, unless they are its rows or columns.
struct PivotTable {
  std::string title = {};  ///< what its trials share: convention, hardware, build
  std::vector<std::string> rows = {}, cols = {};
  std::vector<std::vector<PivotCell>> cells = {};  ///< [rows][cols]
};

/// @throws UsageError for an unknown key, with the nearest ones
std::vector<PivotTable> pivot(const Report& report, const PivotSpec& spec, const ModelOptions& options = {});

/// For a terminal. @param width cells a line may take; 0: any
std::string pivot_text(const std::vector<PivotTable>& tables, const PivotSpec& spec, size_t width);
/// Long form: table, row, column, value, trials.
std::string pivot_csv(const std::vector<PivotTable>& tables, const PivotSpec& spec);

}  // namespace aqlm_exp::analysis
