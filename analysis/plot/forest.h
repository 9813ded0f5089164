// Differences with their intervals, one a row: what is right of zero is really worse, what crosses it is a tie.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/figure.h"
#include "analysis/plot/scatter.h"

namespace aqlm_exp::plot {

struct ForestRow {
  std::string heading = {};  ///< not empty: a heading in place of a row
  std::string label = {};
  double value = kNone, low = kNone, high = kNone;
  size_t series = 0;
  bool tie = false;        ///< drawn hollow
  bool reference = false;  ///< what the others are compared with: a mark at zero
  std::string text = {};   ///< at the right: "+0.48 [0.41, 0.55]"
  std::string tip = {}, key = {};
};
struct ForestSpec {
  std::string id = {}, title = {}, caption = {};
  AxisText x = {};
  std::vector<ForestRow> rows = {};
  DataTable data = {};
};

Figure draw_forest(const ForestSpec& spec);

}  // namespace aqlm_exp::plot
