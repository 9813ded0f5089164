#include "framework/base/home.h"

#include <cstdlib>
#include <string>
#include <system_error>
#include <vector>

#include "framework/base/error.h"

namespace aqlm_exp {

std::filesystem::path program_home() {
  namespace fs = std::filesystem;
  std::vector<fs::path> tried;
  if (const char* named = std::getenv("AQLM_EXP_HOME"); named != nullptr && *named != '\0') {
    tried.emplace_back(named);  // named by the user: nothing else will do
  } else {
    std::error_code ignored;
    const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
    tried.push_back(program.parent_path().parent_path() / "share" / "aqlm-exp");
    tried.emplace_back(AQLM_EXP_SOURCE_HOME);
  }
  std::string names;
  for (const fs::path& folder : tried) {
    std::error_code ignored;
    if (fs::is_directory(folder / "configs", ignored)) return folder;
    names += (names.empty() ? "" : ", ") + folder.string();
  }
  throw ConfigError("builtin: no folder with configs/ at " + names + "; set AQLM_EXP_HOME to the source tree");
}

std::filesystem::path named_path(const std::string& text) {
  constexpr std::string_view kBuiltin = "builtin:";
  if (text.rfind(kBuiltin, 0) != 0) return text;
  return program_home() / text.substr(kBuiltin.size());
}

}  // namespace aqlm_exp
