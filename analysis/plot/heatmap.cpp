#include "analysis/plot/heatmap.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace aqlm_exp::plot {
namespace {

using Colour = std::array<double, 3>;

template <size_t N>
std::string interpolate(const std::array<Colour, N>& stops, double share) {
  const double at = std::clamp(share, 0.0, 1.0) * (N - 1);
  const size_t first = std::min(static_cast<size_t>(at), N - 2);
  const double rest = at - static_cast<double>(first);
  std::array<int, 3> rgb{};
  for (size_t i = 0; i < 3; ++i) {
    rgb[i] = static_cast<int>(std::lround(stops[first][i] + rest * (stops[first + 1][i] - stops[first][i])));
  }
  return fmt::format("#{:02x}{:02x}{:02x}", rgb[0], rgb[1], rgb[2]);
}

constexpr double kWidth = 320, kRight = 40, kBar = 56;

}  // namespace

std::string sequential_colour(double share) {
  static constexpr std::array<Colour, 9> kCividis = {{{0, 34, 78},
                                                      {18, 53, 112},
                                                      {59, 73, 108},
                                                      {87, 93, 109},
                                                      {112, 113, 115},
                                                      {138, 134, 120},
                                                      {165, 156, 116},
                                                      {200, 184, 102},
                                                      {254, 232, 56}}};
  return interpolate(kCividis, share);
}

std::string diverging_colour(double share) {
  static constexpr std::array<Colour, 5> kStops = {
      {{0, 90, 150}, {110, 170, 210}, {236, 236, 236}, {235, 155, 100}, {195, 80, 0}}};
  return interpolate(kStops, share);
}

Figure draw_heatmap(const HeatMapSpec& spec) {
  const size_t num_rows = spec.rows.size(), num_columns = spec.columns.size();
  double left = 20;
  for (const std::string& row : spec.rows) left = std::max(left, text_width(row, 11.5) + 12);
  left = std::min(left, 110.0);
  double top_text = 20;
  for (const std::string& column : spec.columns) top_text = std::max(top_text, text_width(column, 11.5));
  const double top_edge = std::min(top_text, 120.0) * 0.71 + 14;  // names stand at 45 degrees
  const double cell_width = (kWidth - left - kRight) / static_cast<double>(std::max<size_t>(num_columns, 1));
  const double cell_height = std::clamp(260.0 / static_cast<double>(std::max<size_t>(num_rows, 1)), 5.0, 22.0);
  const double bottom = top_edge + cell_height * static_cast<double>(num_rows);
  const double height = bottom + kBar;
  const auto share_of = [&](double value) {
    if (spec.log) return (std::log10(value) - std::log10(spec.low)) / (std::log10(spec.high) - std::log10(spec.low));
    return (value - spec.low) / (spec.high - spec.low);
  };
  const auto colour = [&](double share) { return spec.diverging ? diverging_colour(share) : sequential_colour(share); };
  Canvas canvas(kWidth, height);
  for (size_t j = 0; j < num_columns; ++j) {
    canvas.text({left + cell_width * (static_cast<double>(j) + 0.5) + 3, top_edge - 6}, spec.columns[j], "tg",
                Anchor::kStart, -45);
  }
  // Row names as far as they fit, at even distances.
  const size_t every = std::max<size_t>(1, static_cast<size_t>(std::ceil(12.0 / cell_height)));
  for (size_t i = 0; i < num_rows; ++i) {
    const double top = top_edge + cell_height * static_cast<double>(i);
    if (i % every == 0) canvas.text({left - 6, top + cell_height / 2 + 4}, spec.rows[i], "tg", Anchor::kEnd);
    for (size_t j = 0; j < num_columns; ++j) {
      const double value = spec.values.at(i * num_columns + j);
      const double x = left + cell_width * static_cast<double>(j);
      const bool known = std::isfinite(value) && (!spec.log || value > 0);
      const std::string tip = fmt::format("{} · {}: {}", spec.rows[i], spec.columns[j],
                                          std::isfinite(value) ? fmt::format("{:.4g}", value) : "–");
      if (known) {
        canvas.rect(x, top, cell_width, cell_height, "cell", colour(share_of(value)), tip);
      } else {
        canvas.rect(x + 0.5, top + 0.5, cell_width - 1, cell_height - 1, "none", {}, tip);
      }
    }
  }
  canvas.rect(left, top_edge, cell_width * static_cast<double>(num_columns), bottom - top_edge, "frame");
  constexpr int kSteps = 48;
  const double bar_width = kWidth - left - kRight, bar_top = bottom + 14;
  for (int i = 0; i < kSteps; ++i) {
    canvas.rect(left + bar_width * i / kSteps, bar_top, bar_width / kSteps + 0.4, 9, "cell",
                colour((i + 0.5) / kSteps));
  }
  const double middle = spec.log ? std::sqrt(spec.low * spec.high) : (spec.low + spec.high) / 2;
  canvas.text({left, bar_top + 22}, tick_text(std::stod(fmt::format("{:.2g}", spec.low))), "tg");
  canvas.text({left + bar_width / 2, bar_top + 22}, tick_text(std::stod(fmt::format("{:.2g}", middle))), "tg",
              Anchor::kMiddle);
  canvas.text({left + bar_width, bar_top + 22}, tick_text(std::stod(fmt::format("{:.2g}", spec.high))), "tg",
              Anchor::kEnd);
  canvas.text({left + bar_width / 2, bar_top + 37}, axis_title(spec.value), "tg", Anchor::kMiddle);
  return {.id = spec.id,
          .title = spec.title,
          .caption = spec.caption,
          .svg = canvas.str(spec.title + ". " + spec.caption),
          .data = spec.data,
          .width = kWidth,
          .height = height};
}

}  // namespace aqlm_exp::plot
