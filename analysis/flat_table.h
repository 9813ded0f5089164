// All trials as one flat table: a row each, numbers apart from texts. What CSV, SQLite and pivots work on.
#pragma once

#include <string>
#include <vector>

#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

struct FlatColumn {
  std::string name = {};  ///< "ppl", "ppl_low", "quant.nbits", "method", ...
  std::string unit = {};
  std::string description = {};
  bool number = false;
};
struct FlatCell {
  std::string text = {};
  double number = results::kAbsent;
};
struct FlatTable {
  std::vector<FlatColumn> columns;
  std::vector<std::vector<FlatCell>> rows;

  /// Index of a column, or -1.
  int find(const std::string& name) const;
};

/// One row a planned trial, plan order: trial_id, source, name, status, failure, repeat, group, budget, standing,
/// labels, swept keys (numbers where all their values are), nominal_bits, metrics with _low and _high where intervals
/// are known.
FlatTable trial_table(const Report& report);
/// One row a quantised linear: trial_id, labels, layer, the layer metrics.
FlatTable layer_table(const Report& report);

}  // namespace aqlm_exp::analysis
