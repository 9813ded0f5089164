#include "framework/config/decimal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace aqlm_exp::config {
namespace {

__extension__ using Wide = __int128;
constexpr int kMaxDigits = 30;  // 10^30 and sums of two such numbers fit 127 bits

/// mantissa * 10^exponent.
struct Decimal {
  Wide mantissa = 0;
  int exponent = 0;
};

std::optional<Decimal> decimal_of(const Node& number) {
  if (number.is_int()) return Decimal{number.as_int(), 0};
  const double value = number.as_number();
  if (!std::isfinite(value)) return std::nullopt;
  Decimal out;
  bool negative = false, in_fraction = false;
  const std::string text = float_text(value);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '-') {
      negative = true;
    } else if (text[i] == '.') {
      in_fraction = true;
    } else if (text[i] == 'e') {
      out.exponent += std::atoi(text.c_str() + i + 1);
      break;
    } else {
      out.mantissa = out.mantissa * 10 + (text[i] - '0');
      if (in_fraction) --out.exponent;
    }
  }
  while (out.mantissa != 0 && out.mantissa % 10 == 0) {
    out.mantissa /= 10;
    ++out.exponent;
  }
  if (out.mantissa == 0) out.exponent = 0;
  if (negative) out.mantissa = -out.mantissa;
  return out;
}

int num_digits(Wide value) {
  int digits = 0;
  for (; value != 0; value /= 10) ++digits;
  return digits;
}

std::string text_of(Wide value) {
  if (value == 0) return "0";
  const bool negative = value < 0;
  std::string out;
  for (; value != 0; value /= 10)
    out.push_back(static_cast<char>('0' + static_cast<int>(negative ? -(value % 10) : value % 10)));
  if (negative) out.push_back('-');
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

std::optional<std::vector<Node>> decimal_range(const Node& start, const Node& stop, const Node& step, size_t max_values,
                                               std::string& fault) {
  const auto first = decimal_of(start), last = decimal_of(stop), by = decimal_of(step);
  if (!first || !last || !by) {
    fault = "got inf or nan, need finite numbers";
    return std::nullopt;
  }
  if (by->mantissa == 0) {
    fault = "got step 0, need another step";
    return std::nullopt;
  }
  const int exponent = std::min({first->exponent, last->exponent, by->exponent});
  const auto scaled = [&](const Decimal& number) -> std::optional<Wide> {
    if (number.mantissa != 0 && num_digits(number.mantissa) + number.exponent - exponent > kMaxDigits)
      return std::nullopt;
    Wide out = number.mantissa;
    for (int i = exponent; i < number.exponent && out != 0; ++i) out *= 10;
    return out;
  };
  const auto begin = scaled(*first), end = scaled(*last), delta = scaled(*by);
  if (!begin || !end || !delta) {
    fault = fmt::format("the arguments differ by more than {} decimal digits", kMaxDigits);
    return std::nullopt;
  }
  const bool whole = start.is_int() && stop.is_int() && step.is_int();
  // Counted before anything is made of it: a few digits must not take much memory.
  const Wide distance = *delta > 0 ? *end - *begin : *begin - *end, pace = *delta > 0 ? *delta : -*delta;
  const Wide count = distance <= 0 ? 0 : (distance - 1) / pace + 1;
  if (count > static_cast<Wide>(max_values)) {
    fault = fmt::format("makes more than {} values", max_values);
    return std::nullopt;
  }
  std::vector<Node> out;
  out.reserve(static_cast<size_t>(count));
  for (Wide value = *begin; *delta > 0 ? value < *end : value > *end; value += *delta) {
    if (whole) {
      out.push_back(Node::integer(static_cast<int64_t>(value), start.mark()));
    } else {
      out.push_back(
          Node::number(std::strtod((text_of(value) + "e" + std::to_string(exponent)).c_str(), nullptr), start.mark()));
    }
  }
  return out;
}

}  // namespace aqlm_exp::config
