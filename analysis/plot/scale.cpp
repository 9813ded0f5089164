#include "analysis/plot/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace aqlm_exp::plot {
namespace {

std::string superscript(int exponent) {
  static const char* const kDigits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out = exponent < 0 ? "⁻" : "";
  for (char c : std::to_string(std::abs(exponent))) out += kDigits[c - '0'];
  return out;
}

}  // namespace

std::string tick_text(double value) {
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size < 1e-4 || size >= 1e6) {
    const int exponent = static_cast<int>(std::floor(std::log10(size) + 1e-9));
    const std::string mantissa = fmt::format("{:.3g}", value / std::pow(10.0, exponent));
    const std::string power = "10" + superscript(exponent);
    return mantissa == "1" ? power : mantissa == "-1" ? "−" + power : mantissa + "·" + power;
  }
  std::string text = fmt::format("{:.6g}", value);
  if (text.front() == '-') text.replace(0, 1, "−");
  return text;
}

Scale Scale::covering(const std::vector<double>& values, bool log, double from, double to) {
  Scale scale;
  scale.from_ = from;
  scale.to_ = to;
  const auto range = [&](bool positive) {
    bool any = false;
    for (double value : values) {
      if (!std::isfinite(value) || (positive && value <= 0)) continue;
      scale.low_ = any ? std::min(scale.low_, value) : value;
      scale.high_ = any ? std::max(scale.high_, value) : value;
      any = true;
    }
    return any;
  };
  scale.log_ = log && range(true);
  if (scale.log_) {
    double low = std::log10(scale.low_), high = std::log10(scale.high_);
    const double margin = std::max((high - low) * 0.06, 0.05);
    scale.low_ = std::pow(10.0, low - margin);
    scale.high_ = std::pow(10.0, high + margin);
    return scale;
  }
  if (!range(false)) {
    scale.low_ = 0;
    scale.high_ = 1;
  }
  double margin = (scale.high_ - scale.low_) * 0.06;
  if (margin == 0) margin = scale.high_ == 0 ? 1 : std::abs(scale.high_) * 0.1;
  const bool positive = scale.low_ >= 0;
  scale.low_ -= margin;
  scale.high_ += margin;
  if (positive && scale.low_ < 0) scale.low_ = 0;
  return scale;
}

bool Scale::has(double value) const { return std::isfinite(value) && (!log_ || value > 0); }

double Scale::at(double value) const {
  const double share = log_ ? (std::log10(value) - std::log10(low_)) / (std::log10(high_) - std::log10(low_))
                            : (value - low_) / (high_ - low_);
  return from_ + share * (to_ - from_);
}

std::vector<Tick> Scale::ticks(size_t wanted) const {
  std::vector<Tick> ticks;
  if (log_) {
    const int first = static_cast<int>(std::floor(std::log10(low_))),
              last = static_cast<int>(std::ceil(std::log10(high_)));
    // Fewer labels the more decades there are.
    const std::vector<std::vector<int>> labelled = {{1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 5}, {1, 2, 5}, {1, 3}, {1}};
    for (size_t level = 0; level < labelled.size(); ++level) {
      size_t count = 0;
      for (int decade = first; decade <= last; ++decade) {
        for (int digit : labelled[level]) {
          const double value = digit * std::pow(10.0, decade);
          count += value >= low_ && value <= high_ ? 1 : 0;
        }
      }
      if (count > wanted + 1 && level + 1 < labelled.size()) continue;
      const int step =
          level + 1 == labelled.size() && count > wanted + 1 ? static_cast<int>((count + wanted - 1) / wanted) : 1;
      for (int decade = first; decade <= last; ++decade) {
        for (int digit = 1; digit <= 9; ++digit) {
          const double value = digit * std::pow(10.0, decade);
          if (value < low_ || value > high_) continue;
          const bool named =
              std::find(labelled[level].begin(), labelled[level].end(), digit) != labelled[level].end() &&
              (decade - first) % step == 0;
          if (named || step == 1) ticks.push_back({value, named ? tick_text(value) : ""});
        }
      }
      if (count >= 2) return ticks;
      break;
    }
    // Less than a decade's digits in range: round values as on a linear scale.
    ticks.clear();
  }
  const double rough = (high_ - low_) / static_cast<double>(std::max<size_t>(wanted, 1));
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double candidate : {1.0, 2.0, 2.5, 5.0}) {
    if (candidate * power >= rough) {
      step = candidate * power;
      break;
    }
  }
  for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + step * 1e-9; ++i) {
    const double value = std::abs(i) < 0.5 ? 0 : i * step;
    ticks.push_back({value, tick_text(value)});
  }
  return ticks;
}

std::string axis_title(const AxisText& text) {
  return text.unit.empty() ? text.title : fmt::format("{} [{}]", text.title, text.unit);
}

void draw_axes(Canvas& canvas, const Frame& frame, const Scale& x, const Scale& y, const std::vector<Tick>& x_ticks,
               const std::vector<Tick>& y_ticks, const AxisText& x_text, const AxisText& y_text) {
  for (const Tick& tick : y_ticks) {
    const double at = y.at(tick.value);
    if (!tick.text.empty()) {
      canvas.line({frame.left, at}, {frame.right, at}, "grid");
      canvas.text({frame.left - 7, at + 4}, tick.text, "t", Anchor::kEnd);
    } else {
      canvas.line({frame.left - 3, at}, {frame.left, at}, "axis");
    }
  }
  double free_from = -1e9;  // labels that would run into the one before are left out
  for (const Tick& tick : x_ticks) {
    const double at = x.at(tick.value);
    canvas.line({at, frame.bottom}, {at, frame.bottom + (tick.text.empty() ? 3 : 5)}, "axis");
    const double half = text_width(tick.text, kFontPx) / 2;
    if (tick.text.empty() || at - half < free_from) continue;
    canvas.line({at, frame.top}, {at, frame.bottom}, "grid");
    canvas.text({at, frame.bottom + 18}, tick.text, "t", Anchor::kMiddle);
    free_from = at + half + 6;
  }
  canvas.line({frame.left, frame.bottom}, {frame.right, frame.bottom}, "axis");
  canvas.line({frame.left, frame.top}, {frame.left, frame.bottom}, "axis");
  canvas.text({(frame.left + frame.right) / 2, frame.bottom + 37}, axis_title(x_text), "t th", Anchor::kMiddle);
  canvas.text({frame.left - 7, frame.top - 9}, axis_title(y_text), "t th", Anchor::kStart);
}

}  // namespace aqlm_exp::plot
