// A matrix as colours: layer by projection.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/figure.h"
#include "analysis/plot/scatter.h"

namespace aqlm_exp::plot {

struct HeatMapSpec {
  std::string id = {}, title = {}, caption = {};
  std::vector<std::string> rows = {}, columns = {};
  std::vector<double> values = {};  ///< [rows, columns] row-major; NaN: an empty frame
  double low = 0, high = 1;         ///< of the colours; the same for pictures that are compared
  bool log = false;
  bool diverging = false;  ///< blue below the middle, orange above; otherwise dark (low) to bright (high)
  AxisText value = {};
  DataTable data = {};
};

Figure draw_heatmap(const HeatMapSpec& spec);

/// "#rrggbb" for a share in [0, 1]. Sequential: cividis (Nuñez, Anderton and Renslow, 2018), perceptually even also for
/// people with a red-green deficiency. Diverging: the palette's blue to its vermilion over a neutral middle.
std::string sequential_colour(double share);
std::string diverging_colour(double share);

}  // namespace aqlm_exp::plot
