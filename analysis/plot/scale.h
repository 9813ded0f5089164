// Axes: from values to places, and where ticks stand.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/canvas.h"

namespace aqlm_exp::plot {

struct Tick {
  double value = 0;
  std::string text = {};  ///< empty: a tick without a label
};

/// Maps [low, high] to [from, to] in user units. Logarithmic scales need low > 0.
class Scale {
 public:
  /// @param values NaN and infinities are left out; a logarithmic scale also leaves out what is not above 0
  /// @param log    asked for; kept only if some value is above 0
  static Scale covering(const std::vector<double>& values, bool log, double from, double to);
  double at(double value) const;
  bool has(double value) const;  ///< finite, and above 0 on a logarithmic scale
  bool log() const { return log_; }
  double low() const { return low_; }
  double high() const { return high_; }
  /// About `wanted` labelled ticks at round values.
  std::vector<Tick> ticks(size_t wanted) const;

 private:
  double low_ = 0, high_ = 1, from_ = 0, to_ = 1;
  bool log_ = false;
};

/// "0.05", "2.5", "1 200", "10⁻⁶": as short as the value allows.
std::string tick_text(double value);

struct AxisText {
  std::string title = {};
  std::string unit = {};
};
/// "title [unit]"
std::string axis_title(const AxisText& text);

/// The part of a picture that data may use.
struct Frame {
  double left = 0, top = 0, right = 0, bottom = 0;
};
/// Grid, ticks, titles. `x_ticks` and `y_ticks` are labelled as given.
void draw_axes(Canvas& canvas, const Frame& frame, const Scale& x, const Scale& y, const std::vector<Tick>& x_ticks,
               const std::vector<Tick>& y_ticks, const AxisText& x_text, const AxisText& y_text);

}  // namespace aqlm_exp::plot
