// The pictures of a report.
#pragma once

#include <string>
#include <vector>

#include "analysis/plot/figure.h"
#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

/// Pictures that belong together under one heading.
struct FigureSection {
  std::string title = {};
  std::string intro = {};    ///< how to read them
  std::string missing = {};  ///< what could not be drawn, and why; empty when nothing is
  std::vector<plot::Figure> figures = {};
  enum class Width { kHalf, kThird, kQuarter } width = Width::kHalf;  ///< of a page, where it is wide
};

/// Differences to the best of each budget: what is real and what is a tie.
FigureSection difference_figures(const Report& report, const Group& group);
/// Quality against audited bits.
FigureSection quality_figures(const Report& report, const Group& group);
/// Quality against speed, memory, stored size and the cost of quantising.
FigureSection cost_figures(const Report& report, const Group& group);
/// Error per layer and projection, and its ratio to the best of the budget.
FigureSection layer_figures(const Report& report, const Group& group);
/// Quality against each swept key.
FigureSection effect_figures(const Report& report, const Group& group);
/// Curves that quantisers and tuners left behind.
FigureSection curve_figures(const Report& report, const Group& group);
/// Timings of the kernels that could have run.
FigureSection kernel_figures(const Report& report, const Group& group);

/// Colour and shape of a method, the same in every picture of every report.
size_t series_of(const Report& report, const std::string& method);
/// The methods of a report by series index.
std::vector<std::string> series_names(const Report& report);
/// The metric that pictures show upwards: "kl" if the group has it, otherwise "ppl".
std::string quality_metric(const Group& group);
/// What hovering over an entry's mark shows.
std::string entry_tip(const Report& report, const Entry& entry);

}  // namespace aqlm_exp::analysis
