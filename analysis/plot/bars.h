// Horizontal bars in groups: candidates of a choice, the chosen one filled.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/figure.h"
#include "analysis/plot/scatter.h"

namespace aqlm_exp::plot {

struct Bar {
  std::string heading = {};  ///< not empty: a heading in place of a bar
  std::string label = {};
  double value = kNone;  ///< NaN: no bar, only its text
  bool chosen = false;
  size_t series = 0;
  std::string text = {};  ///< behind the bar
  std::string tip = {};
};
struct BarsSpec {
  std::string id = {}, title = {}, caption = {};
  AxisText x = {};
  std::vector<Bar> bars = {};
  DataTable data = {};
};

Figure draw_bars(const BarsSpec& spec);

}  // namespace aqlm_exp::plot
