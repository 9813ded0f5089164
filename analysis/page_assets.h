// The page's style sheet and script, embedded by the build.
#pragma once

#include <string_view>

namespace aqlm_exp::analysis {

extern const std::string_view kPageCss;  ///< page.css
extern const std::string_view kPageJs;   ///< page.js

}  // namespace aqlm_exp::analysis
