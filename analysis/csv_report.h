// Comma-separated tables after RFC 4180: UTF-8, CRLF, units in the header, numbers with 17 significant digits, nothing
// for NaN.
#pragma once

#include <string>
#include <string_view>

#include "analysis/flat_table.h"

namespace aqlm_exp::analysis {

/// A text cell. One that a spreadsheet would take for a formula (it starts with = + - @, a tab or a carriage return)
/// gets an apostrophe in front; numbers never pass through here.
std::string csv_text(std::string_view text);

/// Header "name [unit]", then the rows.
std::string csv(const FlatTable& table);

/// One row a planned trial.
std::string summary_csv(const Report& report);
/// One row a quantised linear of a trial.
std::string layers_csv(const Report& report);

}  // namespace aqlm_exp::analysis
