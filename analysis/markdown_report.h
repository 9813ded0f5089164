// report.md: the same tables and pictures for GitHub and the like.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "analysis/html_report.h"
#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

/// Text that Markdown shows as it is, in running text and in table cells: HTML escaped, markup characters disarmed,
/// line breaks turned into blanks.
std::string markdown_text(std::string_view text);

/// Pictures are referred to as figures/<id>.svg.
std::string markdown_report(const Report& report, const std::vector<GroupFigures>& figures);

}  // namespace aqlm_exp::analysis
