// Quality against a cost: points by method, intervals, the Pareto front, the unquantised model as a line.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "analysis/plot/figure.h"
#include "analysis/plot/scale.h"

namespace aqlm_exp::plot {

inline constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

struct ScatterPoint {
  double x = kNone, y = kNone;
  double x_low = kNone, x_high = kNone, y_low = kNone, y_high = kNone;  ///< intervals; NaN: none is known
  size_t series = 0;
  std::string label = {};  ///< beside the point, where there is room
  std::string tip = {};    ///< on hovering
  std::string key = {};    ///< links to table rows
  bool front = false;      ///< on the Pareto front; the others are grey
};

struct ScatterSpec {
  std::string id = {}, title = {}, caption = {};
  AxisText x = {}, y = {};
  bool log_x = false, log_y = false;
  bool x_higher_is_better = false;
  std::vector<std::string> series = {};  ///< names, by index
  std::vector<ScatterPoint> points = {};
  double baseline = kNone;  ///< y of the unquantised model
  std::string baseline_text = {};
  DataTable data = {};
};

/// Points that cannot be shown on their axis (NaN; 0 on a logarithmic one) are counted in the caption.
Figure draw_scatter(const ScatterSpec& spec);

}  // namespace aqlm_exp::plot
