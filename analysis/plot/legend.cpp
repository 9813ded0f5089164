#include "analysis/plot/legend.h"

namespace aqlm_exp::plot {
namespace {

constexpr double kMark = 22, kGap = 14;

template <typename Place>
size_t lay_out(const std::vector<LegendItem>& items, double width, const Place& place) {
  double x = 0;
  size_t row = 0;
  for (const LegendItem& item : items) {
    const double need = kMark + text_width(item.text, kFontPx);
    if (x > 0 && x + need > width) {
      x = 0;
      ++row;
    }
    place(item, x, row);
    x += need + kGap;
  }
  return items.empty() ? 0 : row + 1;
}

}  // namespace

size_t legend_rows(const std::vector<LegendItem>& items, double width) {
  return lay_out(items, width, [](const LegendItem&, double, size_t) {});
}

void draw_legend(Canvas& canvas, const std::vector<LegendItem>& items, Point top_left, double width) {
  lay_out(items, width, [&](const LegendItem& item, double x, size_t row) {
    const double left = top_left.x + x, middle = top_left.y + kLegendRow * (static_cast<double>(row) + 0.5);
    if (item.line) {
      canvas.line({left, middle}, {left + kMark - 6, middle}, item.css);
    } else {
      canvas.marker(item.shape, {left + 8, middle}, 5, item.css);
    }
    canvas.text({left + kMark, middle + 4.5}, item.text);
  });
}

}  // namespace aqlm_exp::plot
