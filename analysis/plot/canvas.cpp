#include "analysis/plot/canvas.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "framework/base/utf8.h"

namespace aqlm_exp::plot {
namespace {

/// Widths in thousandths of the font size, of DejaVu Sans: the widest of the fonts that the style sheet may end up
/// with.
int glyph_width(char32_t c) {
  if (c >= 0x1100 && c < 0x2000) return 1000;  // East Asian scripts
  if (c >= 0x2E80) return 1000;
  if (c >= '0' && c <= '9') return 636;
  if (c >= 'A' && c <= 'Z') return c == 'I' || c == 'J' ? 295 : c == 'M' || c == 'W' ? 930 : 720;
  switch (c) {
    case 'i':
    case 'j':
    case 'l':
    case '.':
    case ',':
    case ':':
    case ';':
    case '|':
    case '\'':
    case ' ':
      return 318;
    case 'f':
    case 't':
    case 'r':
    case '(':
    case ')':
    case '[':
    case ']':
    case '/':
    case '-':
      return 395;
    case 'm':
    case '%':
      return 965;
    case 'w':
    case '<':
    case '>':
    case '=':
    case '+':
    case 0x2264:  // ≤
    case 0x2212:  // −
      return 838;
    default:
      return 625;
  }
}

std::string tip_element(std::string_view tip) {
  return tip.empty() ? std::string() : fmt::format("<title>{}</title>", escape_markup(tip));
}

std::string polygon(const std::vector<Point>& points) {
  std::string out;
  for (const Point& point : points) {
    out += fmt::format("{}{},{}", out.empty() ? "" : " ", coordinate(point.x), coordinate(point.y));
  }
  return out;
}

}  // namespace

std::string escape_markup(std::string_view text) {
  const std::string valid = utf8_replace_invalid(text);
  std::string out;
  for (size_t at = 0; at < valid.size();) {
    const CodePoint point = utf8_decode(valid, at);
    const char32_t c = point.value;
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if ((c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c < 0xA0) || c == 0xFFFE || c == 0xFFFF ||
               (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069)) {
      out += "\xEF\xBF\xBD";  // controls, and marks that turn the reading direction around
    } else {
      out += valid.substr(at, point.size_bytes);
    }
    at += point.size_bytes;
  }
  return out;
}

std::string coordinate(double value) {
  // A coordinate halfway between two hundredths must not hang on the last bit of the machine's log10.
  std::string text = fmt::format("{:.2f}", std::floor(value * 100 + 0.5 + 1e-6) / 100);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

double text_width(std::string_view text, double font_px) {
  const std::string valid = utf8_replace_invalid(text);
  int64_t thousandths = 0;
  for (size_t at = 0; at < valid.size();) {
    const CodePoint point = utf8_decode(valid, at);
    thousandths += glyph_width(point.value);
    at += point.size_bytes;
  }
  return static_cast<double>(thousandths) / 1000 * font_px;
}

void Canvas::line(Point from, Point to, std::string_view css) {
  body_ += fmt::format("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", css, coordinate(from.x),
                       coordinate(from.y), coordinate(to.x), coordinate(to.y));
}

void Canvas::polyline(const std::vector<Point>& points, std::string_view css) {
  if (points.size() < 2) return;
  body_ += fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", css, polygon(points));
}

void Canvas::rect(double x, double y, double width, double height, std::string_view css, std::string_view fill,
                  std::string_view tip) {
  body_ += fmt::format("<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", css, coordinate(x),
                       coordinate(y), coordinate(width), coordinate(height));
  if (!fill.empty()) body_ += fmt::format(" fill=\"{}\"", escape_markup(fill));
  body_ += tip.empty() ? "/>\n" : fmt::format(">{}</rect>\n", tip_element(tip));
}

void Canvas::text(Point at, std::string_view text, std::string_view css, Anchor anchor, double rotate_deg) {
  body_ += fmt::format("<text class=\"{}\" x=\"{}\" y=\"{}\"", css, coordinate(at.x), coordinate(at.y));
  if (anchor == Anchor::kMiddle) body_ += " text-anchor=\"middle\"";
  if (anchor == Anchor::kEnd) body_ += " text-anchor=\"end\"";
  if (rotate_deg != 0) {
    body_ += fmt::format(" transform=\"rotate({} {} {})\"", coordinate(rotate_deg), coordinate(at.x), coordinate(at.y));
  }
  body_ += fmt::format(">{}</text>\n", escape_markup(text));
}

void Canvas::marker(Shape shape, Point at, double radius, std::string_view css, std::string_view tip,
                    std::string_view key) {
  const double r = radius;
  std::string attributes = fmt::format("class=\"m {}\"", css);
  if (!key.empty()) attributes += fmt::format(" data-k=\"{}\"", escape_markup(key));
  std::string element, geometry;
  switch (shape) {
    case Shape::kCircle:
      element = "circle";
      geometry = fmt::format("cx=\"{}\" cy=\"{}\" r=\"{}\"", coordinate(at.x), coordinate(at.y), coordinate(r));
      break;
    case Shape::kSquare:
      element = "rect";
      geometry = fmt::format("x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", coordinate(at.x - 0.9 * r),
                             coordinate(at.y - 0.9 * r), coordinate(1.8 * r), coordinate(1.8 * r));
      break;
    default: {
      element = "polygon";
      std::vector<Point> points;
      switch (shape) {
        case Shape::kDiamond:
          points = {{0, -1.25}, {1.1, 0}, {0, 1.25}, {-1.1, 0}};
          break;
        case Shape::kTriangleUp:
          points = {{0, -1.2}, {1.15, 0.9}, {-1.15, 0.9}};
          break;
        case Shape::kTriangleDown:
          points = {{0, 1.2}, {1.15, -0.9}, {-1.15, -0.9}};
          break;
        case Shape::kPlus:
          points = {{-0.4, -1.2}, {0.4, -1.2}, {0.4, -0.4}, {1.2, -0.4}, {1.2, 0.4},   {0.4, 0.4},
                    {0.4, 1.2},   {-0.4, 1.2}, {-0.4, 0.4}, {-1.2, 0.4}, {-1.2, -0.4}, {-0.4, -0.4}};
          break;
        case Shape::kCross:
          points = {{0, -0.55}, {0.7, -1.2}, {1.2, -0.7}, {0.55, 0},  {1.2, 0.7},   {0.7, 1.2},
                    {0, 0.55},  {-0.7, 1.2}, {-1.2, 0.7}, {-0.55, 0}, {-1.2, -0.7}, {-0.7, -1.2}};
          break;
        default:  // five-pointed star
          for (int i = 0; i < 10; ++i) {
            const double angle = -M_PI / 2 + i * M_PI / 5, length = i % 2 == 0 ? 1.4 : 0.6;
            points.push_back({length * std::cos(angle), length * std::sin(angle)});
          }
      }
      for (Point& point : points) point = {at.x + r * point.x, at.y + r * point.y};
      geometry = fmt::format("points=\"{}\"", polygon(points));
    }
  }
  body_ += fmt::format("<{} {} {}", element, attributes, geometry);
  body_ += tip.empty() ? "/>\n" : fmt::format(">{}</{}>\n", tip_element(tip), element);
}

std::string Canvas::str(std::string_view alternative) const {
  return fmt::format(
      "<svg class=\"plot\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\" aria-label=\"{2}\">\n{3}</svg>\n",
      coordinate(width_), coordinate(height_), escape_markup(alternative), body_);
}

std::string series_class(size_t index) { return fmt::format("s{}", index % kNumColours); }

Shape series_shape(size_t index) { return static_cast<Shape>(index % kNumShapes); }

}  // namespace aqlm_exp::plot
