// Characters that the override grammar's parser and printer must agree on.
#pragma once

#include <string_view>

namespace aqlm_exp::config {

/// What a backslash may stand before in a bare element.
inline constexpr std::string_view kOverrideEscapable = "\\()[]{}:=, \t";

inline bool is_override_blank(char c) { return c == ' ' || c == '\t'; }

}  // namespace aqlm_exp::config
