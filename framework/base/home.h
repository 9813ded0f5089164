// Where the program's own configs, models and texts are: what `builtin:...` names.
#pragma once

#include <filesystem>

namespace aqlm_exp {

/// AQLM_EXP_HOME if set; else <prefix>/share/aqlm-exp beside an installed program; else the source tree it was built
/// from.
/// @throws ConfigError if none of them has a folder `configs`, naming what was tried
std::filesystem::path program_home();

}  // namespace aqlm_exp
