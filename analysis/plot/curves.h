// Lines over steps or over the values of a parameter.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/figure.h"
#include "analysis/plot/scale.h"
#include "analysis/plot/scatter.h"

namespace aqlm_exp::plot {

struct CurvePoint {
  double x = kNone, y = kNone;
  double low = kNone, high = kNone;
  std::string tip = {};
  std::string key = {};
};
struct Curve {
  std::string name = {};
  size_t series = 0;  ///< colour and shape
  std::vector<CurvePoint> points = {};
  bool in_legend = true;
};
struct CurvesSpec {
  std::string id = {}, title = {}, caption = {};
  AxisText x = {}, y = {};
  bool log_x = false, log_y = false;
  bool markers = true;
  std::vector<std::string> categories = {};  ///< not empty: x is an index into these
  std::vector<Curve> curves = {};
  double baseline = kNone;
  std::string baseline_text = {};
  DataTable data = {};
  double width = 520;
};

/// Points whose value cannot be shown interrupt their line.
Figure draw_curves(const CurvesSpec& spec);

}  // namespace aqlm_exp::plot
