// table.tex: a booktabs table for each group of comparable trials, to be \input into a paper.
#pragma once

#include <string>
#include <string_view>

#include "analysis/report_model.h"

namespace aqlm_exp::analysis {

/// Any text as LaTeX prints it: specials escaped, what the text fonts lack replaced by "?".
std::string latex_text(std::string_view text);

/// Needs \usepackage{booktabs}; compiles with texlive-latex-recommended. In each bit budget the best value is bold
/// together with all that tie with it, the next one is underlined; numbers are plain, so that siunitx can take the
/// columns over.
std::string latex_table(const Report& report);

}  // namespace aqlm_exp::analysis
