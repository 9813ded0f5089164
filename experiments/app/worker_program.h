// The worker binary as the driver sees it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "framework/config/schema.h"

namespace aqlm_exp::app {

/// AQLM_EXP_TRIAL if set, else aqlm-exp-trial beside this program. @throws Error with kLauncher if it cannot be run
std::filesystem::path worker_program();

/// This program's own file.
std::filesystem::path program_file();

/// Becomes the worker: same process, same descriptors, arguments untouched.
[[noreturn]] void exec_worker(const std::vector<std::string>& arguments);

/// Keys of a trial: what the build embedded, or the answer of `$AQLM_EXP_TRIAL describe --json` when another worker is
/// named (or none was built). @throws Error with kLauncher
config::Object trial_schema();

/// Standard output of a worker command. @throws Error with kLauncher if it fails
std::string worker_output(const std::vector<std::string>& arguments);

}  // namespace aqlm_exp::app
