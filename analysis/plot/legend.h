// Rows of markers and names below a picture.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/canvas.h"

namespace aqlm_exp::plot {

struct LegendItem {
  std::string text = {};
  std::string css = {};  ///< of the marker: series_class(i), "dom", or "front" for a line
  Shape shape = Shape::kCircle;
  bool line = false;  ///< a line in place of a marker
};

inline constexpr double kLegendRow = 19;

/// How many rows the items take within `width`.
size_t legend_rows(const std::vector<LegendItem>& items, double width);
/// @param top_left of the first row
void draw_legend(Canvas& canvas, const std::vector<LegendItem>& items, Point top_left, double width);

}  // namespace aqlm_exp::plot
