// Evidence behind the choice of kernels.
#include <fmt/format.h>

#include "analysis/figures.h"
#include "analysis/plot/bars.h"

namespace aqlm_exp::analysis {

FigureSection kernel_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "How kernels were chosen";
  std::string backends;
  for (const Entry& entry : group.entries) {
    const std::string backend(report.data->rows[entry.trials.front()].record->find_label("backend"));
    if (!backend.empty() && backends.find(backend) == std::string::npos)
      backends += (backends.empty() ? "" : ", ") + backend;
  }
  section.missing = fmt::format(
      "These results hold no timings of candidate kernels: the backend ({}) was named in the configuration.",
      backends.empty() ? "not recorded" : backends);
  return section;
}

}  // namespace aqlm_exp::analysis
