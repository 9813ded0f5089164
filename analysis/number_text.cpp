#include "analysis/number_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace aqlm_exp::analysis {
namespace {

std::string with_minus(std::string text) {
  if (!text.empty() && text.front() == '-') text.replace(0, 1, "−");
  return text;
}

std::string fixed(double value, int decimals) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "inf" : "−inf";
  std::string text = fmt::format("{:.{}f}", value, decimals);
  if (text.front() == '-' && text.find_first_not_of("-0.") == std::string::npos) text.erase(0, 1);
  return with_minus(text);
}

}  // namespace

std::string significant(double value, int digits) {
  if (!std::isfinite(value)) return fixed(value, 0);
  if (value == 0) return "0";
  const double size = std::abs(value);
  if (size < 1e-5 || size >= 1e9) return with_minus(fmt::format("{:.{}e}", value, digits - 1));
  const int magnitude = static_cast<int>(std::floor(std::log10(size)));
  return fixed(value, std::clamp(digits - 1 - magnitude, 0, 9));
}

std::string metric_text(std::string_view metric_name, double value) {
  if (std::isnan(value)) return "NaN";
  if (metric_name.rfind("bits_per_weight", 0) == 0 || metric_name == "nominal_bits") return fixed(value, 2);
  if (metric_name == "ppl") return significant(value, 4);
  if (metric_name == "kl") return std::abs(value) >= 10 ? significant(value, 4) : fixed(value, 4);
  if (metric_name == "top1_agreement") return fixed(value * 100, 1);
  if (value == std::floor(value) && std::abs(value) < 1e7) return fixed(value, 0);
  return significant(value, 4);
}

std::string interval_text(double value, double low, double high, bool sign) {
  const double half = (high - low) / 2;
  int decimals = 4;
  if (std::isfinite(half) && half > 0) {
    decimals = std::clamp(1 - static_cast<int>(std::floor(std::log10(half))), 0, 8);
  }
  const auto show = [&](double v) { return (sign && v > 0 ? "+" : "") + fixed(v, decimals); };
  if (!std::isfinite(half)) return (sign && value > 0 ? "+" : "") + significant(value);
  return fmt::format("{} [{}, {}]", show(value), show(low), show(high));
}

std::string p_text(double p_value) {
  if (p_value < 1e-4) return "p < 0.0001";
  return fmt::format("p = {}", significant(p_value, 2));
}

std::string exact(double value) { return std::isnan(value) ? "" : fmt::format("{:.17g}", value); }

std::string method_title(std::string_view method) {
  static const std::map<std::string, std::string, std::less<>> kNames = {
      {"aqlm", "AQLM"}, {"gptq", "GPTQ"}, {"awq", "AWQ"}, {"hqq", "HQQ"}, {"rtn", "RTN"}, {"none", "unquantised"}};
  const auto found = kNames.find(method);
  return found != kNames.end() ? found->second : std::string(method);
}

}  // namespace aqlm_exp::analysis
