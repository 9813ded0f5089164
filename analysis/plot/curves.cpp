#include "analysis/plot/curves.h"

#include <fmt/format.h>

#include <algorithm>

#include "analysis/plot/legend.h"

namespace aqlm_exp::plot {
namespace {

constexpr double kPlotHeight = 240, kTop = 34, kLeft = 62, kRight = 16, kAxisBelow = 48;

/// Category names side by side where they fit, slanted where they do not. @return height they need below the axis
double draw_categories(Canvas* canvas, const Frame& frame, const Scale& x, const std::vector<std::string>& names) {
  const double slot = (frame.right - frame.left) / static_cast<double>(names.size());
  double widest = 0;
  for (const std::string& name : names) widest = std::max(widest, text_width(name, kFontPx));
  const bool slanted = widest > slot - 8;
  for (size_t i = 0; canvas != nullptr && i < names.size(); ++i) {
    const double at = x.at(static_cast<double>(i));
    canvas->line({at, frame.bottom}, {at, frame.bottom + 5}, "axis");
    if (slanted) {
      canvas->text({at + 4, frame.bottom + 14}, names[i], "t", Anchor::kEnd, -40);
    } else {
      canvas->text({at, frame.bottom + 18}, names[i], "t", Anchor::kMiddle);
    }
  }
  return slanted ? widest * 0.64 + 16 : 18;
}

}  // namespace

Figure draw_curves(const CurvesSpec& spec) {
  std::vector<double> xs, ys = {spec.baseline};
  std::vector<LegendItem> legend;
  for (const Curve& curve : spec.curves) {
    for (const CurvePoint& point : curve.points) {
      xs.push_back(point.x);
      ys.insert(ys.end(), {point.y, point.low, point.high});
    }
    if (curve.in_legend) {
      legend.push_back({.text = curve.name,
                        .css = spec.markers ? series_class(curve.series) : "ln " + series_class(curve.series),
                        .shape = series_shape(curve.series),
                        .line = !spec.markers});
    }
  }
  std::sort(legend.begin(), legend.end(), [](const LegendItem& a, const LegendItem& b) { return a.css < b.css; });
  const bool has_baseline = std::isfinite(spec.baseline);
  if (has_baseline) legend.push_back({.text = spec.baseline_text, .css = "base", .line = true});
  const Frame frame{.left = kLeft, .top = kTop, .right = spec.width - kRight, .bottom = kTop + kPlotHeight};
  if (!spec.categories.empty()) xs = {-0.5, static_cast<double>(spec.categories.size()) - 0.5};
  const Scale x = Scale::covering(xs, spec.log_x && spec.categories.empty(), frame.left, frame.right);
  const Scale y = Scale::covering(ys, spec.log_y, frame.bottom, frame.top);
  const double names_height = spec.categories.empty() ? 18 : draw_categories(nullptr, frame, x, spec.categories);
  const double legend_top = frame.bottom + names_height + kAxisBelow - 18;
  const double height = legend_top + static_cast<double>(legend_rows(legend, spec.width - 24)) * kLegendRow + 6;
  Canvas canvas(spec.width, height);
  if (spec.categories.empty()) {
    std::vector<Tick> ticks = x.ticks(6);
    // Steps and bits are whole numbers: no ticks between them.
    const bool whole = !x.log() && std::all_of(xs.begin(), xs.end(), [](double v) { return v == std::floor(v); });
    if (whole) {
      ticks.erase(std::remove_if(ticks.begin(), ticks.end(),
                                 [](const Tick& tick) { return tick.value != std::floor(tick.value); }),
                  ticks.end());
    }
    draw_axes(canvas, frame, x, y, ticks, y.ticks(5), spec.x, spec.y);
  } else {
    draw_axes(canvas, frame, x, y, {}, y.ticks(5), {}, spec.y);
    draw_categories(&canvas, frame, x, spec.categories);
    canvas.text({(frame.left + frame.right) / 2, frame.bottom + names_height + 19}, axis_title(spec.x), "t th",
                Anchor::kMiddle);
  }
  if (has_baseline && y.has(spec.baseline)) {
    canvas.line({frame.left, y.at(spec.baseline)}, {frame.right, y.at(spec.baseline)}, "base");
  }
  for (const Curve& curve : spec.curves) {
    const std::string css = series_class(curve.series);
    std::vector<Point> piece;
    const auto flush = [&] {
      canvas.polyline(piece, "ln " + css);
      piece.clear();
    };
    for (const CurvePoint& point : curve.points) {
      if (!x.has(point.x) || !y.has(point.y)) {
        flush();
        continue;
      }
      piece.push_back({x.at(point.x), y.at(point.y)});
      if (y.has(point.low) && y.has(point.high) && point.low < point.high) {
        canvas.line({x.at(point.x), y.at(point.low)}, {x.at(point.x), y.at(point.high)}, "w " + css);
      }
    }
    flush();
  }
  for (const Curve& curve : spec.curves) {
    if (!spec.markers) continue;
    for (const CurvePoint& point : curve.points) {
      if (!x.has(point.x) || !y.has(point.y)) continue;
      canvas.marker(series_shape(curve.series), {x.at(point.x), y.at(point.y)}, 4.5, series_class(curve.series),
                    point.tip, point.key);
    }
  }
  draw_legend(canvas, legend, {12, legend_top}, spec.width - 24);
  return {.id = spec.id,
          .title = spec.title,
          .caption = spec.caption,
          .svg = canvas.str(spec.title + ". " + spec.caption),
          .data = spec.data,
          .width = spec.width,
          .height = height};
}

}  // namespace aqlm_exp::plot
