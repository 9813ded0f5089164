#include "analysis/plot/forest.h"

#include <algorithm>
#include <cmath>

namespace aqlm_exp::plot {
namespace {

constexpr double kWidth = 470, kRow = 23, kTop = 8, kBelow = 46;

}  // namespace

Figure draw_forest(const ForestSpec& spec) {
  double label_width = 60, text_columns = 60;
  std::vector<double> values = {0};
  for (const ForestRow& row : spec.rows) {
    label_width = std::max(label_width, text_width(row.label, kFontPx));
    text_columns = std::max(text_columns, text_width(row.text, kFontPx));
    values.insert(values.end(), {row.value, row.low, row.high});
  }
  label_width = std::min(label_width, 200.0);
  const double height = kTop + kRow * static_cast<double>(spec.rows.size()) + kBelow;
  const Frame frame{.left = label_width + 18,
                    .top = kTop,
                    .right = std::max(kWidth - text_columns - 14, label_width + 110),
                    .bottom = height - kBelow};
  const double width = std::max(kWidth, frame.right + text_columns + 16);
  const Scale x = Scale::covering(values, false, frame.left, frame.right);
  Canvas canvas(width, height);
  double free_from = -1e9;
  for (const Tick& tick : x.ticks(4)) {
    const double at = x.at(tick.value), half = text_width(tick.text, kFontPx) / 2;
    canvas.line({at, frame.top}, {at, frame.bottom}, "grid");
    canvas.line({at, frame.bottom}, {at, frame.bottom + 5}, "axis");
    if (at - half < free_from) continue;
    canvas.text({at, frame.bottom + 18}, tick.text, "t", Anchor::kMiddle);
    free_from = at + half + 6;
  }
  canvas.line({frame.left, frame.bottom}, {frame.right, frame.bottom}, "axis");
  canvas.line({x.at(0), frame.top}, {x.at(0), frame.bottom}, "zero");
  canvas.text({(frame.left + frame.right) / 2, frame.bottom + 37}, axis_title(spec.x), "t th", Anchor::kMiddle);
  for (size_t i = 0; i < spec.rows.size(); ++i) {
    const ForestRow& row = spec.rows[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    if (!row.heading.empty()) {
      canvas.text({6, y + 5}, row.heading, "t th");
      continue;
    }
    canvas.text({14, y + 4.5}, row.label, row.tie || row.reference ? "t" : "tm");
    canvas.text({frame.right + 10, y + 4.5}, row.text, row.tie || row.reference ? "t" : "tm");
    if (std::isfinite(row.low) && std::isfinite(row.high)) {
      canvas.line({x.at(row.low), y}, {x.at(row.high), y}, "w " + series_class(row.series));
      for (double end : {row.low, row.high}) {
        canvas.line({x.at(end), y - 3.5}, {x.at(end), y + 3.5}, "w " + series_class(row.series));
      }
    }
    if (std::isfinite(row.value)) {
      canvas.marker(row.reference ? Shape::kDiamond : Shape::kCircle, {x.at(row.value), y}, 5,
                    row.tie ? "dom" : series_class(row.series), row.tip, row.key);
    }
  }
  return {.id = spec.id,
          .title = spec.title,
          .caption = spec.caption,
          .svg = canvas.str(spec.title + ". " + spec.caption),
          .data = spec.data,
          .width = width,
          .height = height};
}

}  // namespace aqlm_exp::plot
