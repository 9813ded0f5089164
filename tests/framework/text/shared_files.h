// Models and texts of ../shared for tests: they are not part of the project, so a test without them skips.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace aqlm_exp::text {

inline std::filesystem::path shared_folder() {
  const char* set = std::getenv("AQLM_EXP_SHARED");
  return set != nullptr ? set : AQLM_EXP_SOURCE_DIR "/../shared";
}

/// The folder of a model of ../shared, unpacked into the build folder once; empty if it is not there.
inline std::filesystem::path shared_model(const std::string& name) {
  namespace fs = std::filesystem;
  const fs::path archive = shared_folder() / "models" / (name + ".tar.xz");
  if (!fs::exists(archive)) return {};
  const fs::path folder = fs::path(AQLM_EXP_BINARY_DIR) / "shared_models";
  if (!fs::exists(folder / name / "tokenizer.json")) {
    fs::create_directories(folder);
    const std::string command = "tar xf '" + archive.string() + "' -C '" + folder.string() + "'";
    if (std::system(command.c_str()) != 0) return {};
  }
  return folder / name;
}

}  // namespace aqlm_exp::text
