// The main table of a group as columns and cells, for every format that shows it.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

struct TableColumn {
  std::string id = {};  ///< [a-z0-9_]+: metric name, "param_quant_nbits", "trial", ...
  std::string title = {}, unit = {}, description = {};
  bool number = false;
  bool shown = true;  ///< by default; the others are there for who asks
};
struct TableCell {
  std::string text = {};                                    ///< ready to read, not escaped
  double value = std::numeric_limits<double>::quiet_NaN();  ///< for sorting; NaN where there is no number
};
struct TableRow {
  size_t entry = 0;
  std::string budget = {};   ///< heading it stands under; "unquantised" for the baseline
  std::string verdict = {};  ///< "best", "tie", "worse", "unknown", "baseline"
  std::vector<TableCell> cells = {};
};
struct MainTable {
  std::vector<TableColumn> columns = {};
  std::vector<TableRow> rows = {};  ///< the unquantised model, then each budget best first
};

MainTable main_table(const Report& report, const Group& group);

/// "best", "tie with best", "worse", "not known"
std::string verdict_text(const std::string& verdict);

/// The headline of a budget in words: which is best, by how much, and whether that is real.
struct Headline {
  std::string badge = {};    ///< "clear", "tie", "not known", "only one"
  std::string best = {};     ///< title, or the titles of all that tie
  std::string measure = {};  ///< "KL 0.5360 [0.51, 0.56] nats/token"
  std::string perplexity = {};
  std::string bits = {};     ///< "2.09 bits audited, 1.75 nominal"
  std::string reason = {};   ///< one or two sentences
  std::string command = {};  ///< reproduces the best
};
Headline headline(const Report& report, const Group& group, const Budget& budget);

}  // namespace aqlm_exp::analysis
