// report.html: one file, no network, complete without scripts.
#pragma once

#include <string>
#include <vector>

#include "analysis/figures.h"
#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

/// The pictures of one group, drawn once for all formats.
struct GroupFigures {
  FigureSection differences, quality, cost, layers, effects, curves, kernels;
  std::vector<const FigureSection*> all() const {
    return {&differences, &quality, &cost, &layers, &effects, &curves, &kernels};
  }
};
GroupFigures draw_group(const Report& report, const Group& group);

/// @param figures one a group of the report
std::string html_report(const Report& report, const std::vector<GroupFigures>& figures);

/// Base64 of a SHA-256 given as 64 hexadecimal digits, as content-security policies want it.
std::string base64_of_hex(const std::string& hex);

}  // namespace aqlm_exp::analysis
