// A small SVG writer. Own code rather than gnuplot: its output is the same on every machine (so that pictures have
// golden tests), colours are style sheet variables (so that one picture serves dark and light pages and a strict
// content-security policy), marks carry texts for hovering and for screen readers, and nothing has to be installed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "analysis/plot/figure.h"

namespace aqlm_exp::plot {

/// Text for XML and HTML, in element content or between double quotes. Ill-formed UTF-8 and characters that XML does
/// not allow become U+FFFD.
std::string escape_markup(std::string_view text);

/// At most two decimals, no trailing zeros, never "-0".
std::string coordinate(double value);

/// About how wide a line of sans-serif text is, on the generous side; in the unit of `font_px`.
double text_width(std::string_view text, double font_px);

inline constexpr double kFontPx = 12.5;  ///< of labels and ticks, in user units

struct Point {
  double x = 0, y = 0;
};

/// Marker of a series, told apart by shape as well as by colour.
enum class Shape { kCircle, kSquare, kDiamond, kTriangleUp, kTriangleDown, kPlus, kCross, kStar };
inline constexpr size_t kNumShapes = 8;
inline constexpr size_t kNumColours = 7;

enum class Anchor { kStart, kMiddle, kEnd };

/// Elements in drawing order. `css` are class names of style(); texts are escaped here.
class Canvas {
 public:
  Canvas(double width, double height) : width_(width), height_(height) {}
  void line(Point from, Point to, std::string_view css);
  void polyline(const std::vector<Point>& points, std::string_view css);
  void rect(double x, double y, double width, double height, std::string_view css, std::string_view fill = {},
            std::string_view tip = {});
  void text(Point at, std::string_view text, std::string_view css = "t", Anchor anchor = Anchor::kStart,
            double rotate_deg = 0);
  /// @param tip shown when the pointer rests on it
  /// @param key links the mark to the rows of a table (data-k)
  void marker(Shape shape, Point at, double radius, std::string_view css, std::string_view tip = {},
              std::string_view key = {});
  double width() const { return width_; }
  double height() const { return height_; }
  /// The <svg> element; `alternative` is read out in place of the picture.
  std::string str(std::string_view alternative) const;

 private:
  double width_, height_;
  std::string body_;
};

/// Class of the series with this index: "s0" to "s6", round and round.
std::string series_class(size_t index);
Shape series_shape(size_t index);

/// The style sheet that every picture shares, for a page that holds pictures: variables for light and dark, and
/// classes.
std::string style();

/// A figure as a file of its own: XML head, style sheet, background.
std::string svg_document(const Figure& figure);

}  // namespace aqlm_exp::plot
