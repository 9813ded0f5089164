#include "analysis/plot/bars.h"

#include <algorithm>
#include <cmath>

namespace aqlm_exp::plot {
namespace {

constexpr double kWidth = 520, kRow = 22, kTop = 8, kBelow = 46;

}  // namespace

Figure draw_bars(const BarsSpec& spec) {
  double label_width = 60, text_columns = 40;
  std::vector<double> values = {0};
  for (const Bar& bar : spec.bars) {
    label_width = std::max(label_width, text_width(bar.label, kFontPx));
    text_columns = std::max(text_columns, text_width(bar.text, kFontPx));
    if (std::isfinite(bar.value)) values.push_back(bar.value);
  }
  label_width = std::min(label_width, 200.0);
  const double height = kTop + kRow * static_cast<double>(spec.bars.size()) + kBelow;
  const Frame frame{.left = label_width + 20,
                    .top = kTop,
                    .right = std::max(kWidth - text_columns - 14, label_width + 120),
                    .bottom = height - kBelow};
  const double width = std::max(kWidth, frame.right + text_columns + 14);
  const Scale x = Scale::covering(values, false, frame.left, frame.right);
  Canvas canvas(width, height);
  for (const Tick& tick : x.ticks(4)) {
    const double at = x.at(tick.value);
    canvas.line({at, frame.top}, {at, frame.bottom}, "grid");
    canvas.text({at, frame.bottom + 18}, tick.text, "t", Anchor::kMiddle);
  }
  canvas.text({(frame.left + frame.right) / 2, frame.bottom + 37}, axis_title(spec.x), "t th", Anchor::kMiddle);
  for (size_t i = 0; i < spec.bars.size(); ++i) {
    const Bar& bar = spec.bars[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    if (!bar.heading.empty()) {
      canvas.text({6, y + 5}, bar.heading, "t th");
      continue;
    }
    canvas.text({14, y + 4.5}, bar.label, bar.chosen ? "t" : "tm");
    double end = frame.left;
    if (std::isfinite(bar.value)) {
      end = x.at(bar.value);
      canvas.rect(frame.left, y - 7, std::max(end - frame.left, 0.5), 14,
                  bar.chosen ? "m " + series_class(bar.series) : "m dom", {}, bar.tip);
    }
    canvas.text({end + 6, y + 4.5}, bar.text, bar.chosen ? "t" : "tm");
  }
  canvas.line({frame.left, frame.top}, {frame.left, frame.bottom}, "axis");
  return {.id = spec.id,
          .title = spec.title,
          .caption = spec.caption,
          .svg = canvas.str(spec.title + ". " + spec.caption),
          .data = spec.data,
          .width = width,
          .height = height};
}

}  // namespace aqlm_exp::plot
