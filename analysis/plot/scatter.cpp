#include "analysis/plot/scatter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/plot/labels.h"
#include "analysis/plot/legend.h"

namespace aqlm_exp::plot {
namespace {

constexpr double kWidth = 520, kPlotHeight = 300, kTop = 34, kLeft = 62, kRight = 14, kAxisBelow = 48;
constexpr double kRadius = 5;
constexpr double kLabelPx = 11.5;    // classes tl and tg
constexpr size_t kManyPoints = 150;  // from here on, dominated points lose whiskers and labels

Box around(Point point, double radius) {
  return {point.x - radius, point.y - radius, point.x + radius, point.y + radius};
}

Box along(Point a, Point b) {
  return {std::min(a.x, b.x) - 1, std::min(a.y, b.y) - 1, std::max(a.x, b.x) + 1, std::max(a.y, b.y) + 1};
}

class Drawing {
 public:
  explicit Drawing(const ScatterSpec& spec) : spec_(spec) {
    std::vector<double> xs, ys;
    for (const ScatterPoint& point : spec.points) {
      xs.insert(xs.end(), {point.x, point.x_low, point.x_high});
      ys.insert(ys.end(), {point.y, point.y_low, point.y_high});
    }
    ys.push_back(spec.baseline);
    for (size_t i = 0; i < spec.series.size(); ++i) {
      const bool used = std::any_of(spec.points.begin(), spec.points.end(),
                                    [i](const ScatterPoint& point) { return point.series == i; });
      if (used) legend_.push_back({.text = spec.series[i], .css = series_class(i), .shape = series_shape(i)});
    }
    const bool dominated =
        std::any_of(spec.points.begin(), spec.points.end(), [](const ScatterPoint& p) { return !p.front; });
    legend_.push_back({.text = "Pareto front", .css = "front", .line = true});
    if (dominated) legend_.push_back({.text = "dominated", .css = "dom", .shape = Shape::kCircle});
    frame_ = {.left = kLeft, .top = kTop, .right = kWidth - kRight, .bottom = kTop + kPlotHeight};
    x_ = Scale::covering(xs, spec.log_x, frame_.left, frame_.right);
    y_ = Scale::covering(ys, spec.log_y, frame_.bottom, frame_.top);
  }

  Figure draw() {
    const double legend_top = frame_.bottom + kAxisBelow;
    const double height = legend_top + static_cast<double>(legend_rows(legend_, kWidth - 24)) * kLegendRow + 6;
    Canvas canvas(kWidth, height);
    draw_axes(canvas, frame_, x_, y_, x_.ticks(6), y_.ticks(6), spec_.x, spec_.y);
    for (const ScatterPoint& point : spec_.points) {
      if (shown(point)) obstacles_.push_back(around(at(point), kRadius + 1));
    }
    draw_front(canvas);
    draw_baseline(canvas);
    for (const bool front : {false, true}) {
      for (const ScatterPoint& point : spec_.points) {
        if (shown(point) && point.front == front) draw_whiskers(canvas, point);
      }
    }
    draw_labels(canvas);
    for (const bool front : {false, true}) {  // the front is drawn on top
      for (const ScatterPoint& point : spec_.points) {
        if (!shown(point) || point.front != front) continue;
        canvas.marker(series_shape(point.series), at(point), kRadius, front ? series_class(point.series) : "dom",
                      point.tip, point.key);
      }
    }
    draw_legend(canvas, legend_, {12, legend_top}, kWidth - 24);
    const auto hidden = std::count_if(spec_.points.begin(), spec_.points.end(),
                                      [&](const ScatterPoint& point) { return !shown(point); });
    std::string caption = spec_.caption;
    if (hidden > 0) caption += fmt::format(" {} point(s) without a place on these axes are only in the table.", hidden);
    return {.id = spec_.id,
            .title = spec_.title,
            .caption = caption,
            .svg = canvas.str(spec_.title + ". " + caption),
            .data = spec_.data,
            .width = kWidth,
            .height = height};
  }

 private:
  bool shown(const ScatterPoint& point) const { return x_.has(point.x) && y_.has(point.y); }
  Point at(const ScatterPoint& point) const { return {x_.at(point.x), y_.at(point.y)}; }

  void draw_front(Canvas& canvas) {
    std::vector<Point> front;
    for (const ScatterPoint& point : spec_.points) {
      if (point.front && shown(point)) front.push_back(at(point));
    }
    std::sort(front.begin(), front.end(), [](const Point& a, const Point& b) { return a.x < b.x; });
    std::vector<Point> steps;
    for (const Point& point : front) {
      if (!steps.empty()) {
        // What is reached between two points is what the one with enough of both gives.
        steps.push_back(spec_.x_higher_is_better ? Point{steps.back().x, point.y} : Point{point.x, steps.back().y});
      }
      steps.push_back(point);
    }
    canvas.polyline(steps, "front");
    for (size_t i = 0; i + 1 < steps.size(); ++i) obstacles_.push_back(along(steps[i], steps[i + 1]));
  }

  void draw_baseline(Canvas& canvas) {
    if (!y_.has(spec_.baseline)) return;
    const double y = y_.at(spec_.baseline);
    canvas.line({frame_.left, y}, {frame_.right, y}, "base");
    obstacles_.push_back(along({frame_.left, y}, {frame_.right, y}));
    baseline_y_ = y;
  }

  void draw_whiskers(Canvas& canvas, const ScatterPoint& point) {
    if (spec_.points.size() > kManyPoints && !point.front) return;
    const std::string css = point.front ? "w " + series_class(point.series) : "w dom";
    const Point centre = at(point);
    if (y_.has(point.y_low) && y_.has(point.y_high) && point.y_low < point.y_high) {
      const Point low{centre.x, y_.at(point.y_low)}, high{centre.x, y_.at(point.y_high)};
      canvas.line(low, high, css);
      obstacles_.push_back(along(low, high));
    }
    if (x_.has(point.x_low) && x_.has(point.x_high) && point.x_low < point.x_high) {
      const Point low{x_.at(point.x_low), centre.y}, high{x_.at(point.x_high), centre.y};
      canvas.line(low, high, css);
      obstacles_.push_back(along(low, high));
    }
  }

  void draw_labels(Canvas& canvas) {
    std::vector<LabelRequest> requests;
    std::vector<bool> grey;
    std::vector<Point> centres;
    if (baseline_y_ > 0) {  // first, at the right end of its line
      const double width = text_width(spec_.baseline_text, kLabelPx);
      requests.push_back({{frame_.right - width / 2, baseline_y_}, spec_.baseline_text});
      grey.push_back(false);
    }
    for (const bool front : {true, false}) {
      if (!front && spec_.points.size() > kManyPoints) continue;
      for (const ScatterPoint& point : spec_.points) {
        if (!shown(point) || point.front != front || point.label.empty()) continue;
        requests.push_back({at(point), point.label});
        grey.push_back(!front);
      }
    }
    const auto placed = place_labels(requests, obstacles_, frame_, kLabelPx);
    for (size_t i = 0; i < placed.size(); ++i) {
      if (!placed[i]) continue;
      const PlacedLabel& label = *placed[i];
      if (label.leader) {
        const Point& to = requests[i].point;
        canvas.line(
            {std::clamp(to.x, label.box.left, label.box.right), std::clamp(to.y, label.box.top, label.box.bottom)}, to,
            "lead");
      }
      canvas.text(label.baseline, requests[i].text, grey[i] ? "tg" : "tl");
    }
  }

  const ScatterSpec& spec_;
  Frame frame_;
  Scale x_, y_;
  std::vector<LegendItem> legend_;
  std::vector<Box> obstacles_;
  double baseline_y_ = 0;
};

}  // namespace

Figure draw_scatter(const ScatterSpec& spec) { return Drawing(spec).draw(); }

}  // namespace aqlm_exp::plot
