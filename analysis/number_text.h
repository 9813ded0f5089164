// Numbers as people read them in tables.
#pragma once

#include <string>
#include <string_view>

namespace aqlm_exp::analysis {

/// So many significant digits without an exponent where that stays short: "0.5360", "23.13", "4218". NaN is "NaN",
/// infinity "inf"; a minus sign is U+2212.
std::string significant(double value, int digits = 4);
/// A metric the way its kind is read: bits with two decimals, perplexity with four digits, fractions in percent, ...
std::string metric_text(std::string_view metric_name, double value);
/// "0.479 [0.412, 0.546]", all to the digit that the interval's width warrants; `sign` puts "+" before positive values.
std::string interval_text(double value, double low, double high, bool sign);
/// "p < 0.0001", "p = 0.032"
std::string p_text(double p_value);
/// 17 significant digits, so that reading it back gives the same number; "" for NaN, "inf" and "-inf".
std::string exact(double value);

/// "AQLM", "GPTQ", "unquantised"; others as they are.
std::string method_title(std::string_view method);

}  // namespace aqlm_exp::analysis
