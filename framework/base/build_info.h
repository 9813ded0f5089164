// What this program was built from. Written anew by each build (cmake/BuildInfo.cmake), one tiny object file.
#pragma once

#include <string>

namespace aqlm_exp {

struct BuildInfo {
  std::string version;     ///< "0.1.0"
  std::string git_commit;  ///< 40 hexadecimal digits, or "unknown"
  bool git_dirty = false;  ///< the work tree had changes
  std::string build_id;    ///< commit, and a hash of the changes where there were some
  std::string compiler, flags, build_type;
};

const BuildInfo& build_info();

}  // namespace aqlm_exp
