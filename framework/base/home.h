// Where the program's own configs, models and texts are: what `builtin:...` names.
#pragma once

#include <filesystem>
#include <string>

namespace aqlm_exp {

/// AQLM_EXP_HOME if set; else <prefix>/share/aqlm-exp beside an installed program; else the source tree it was built
/// from.
/// @throws ConfigError if none of them has a folder `configs`, naming what was tried
std::filesystem::path program_home();

/// What a user means by a path: "builtin:REST" is REST in program_home(), anything else stands for itself.
std::filesystem::path named_path(const std::string& text);

}  // namespace aqlm_exp
