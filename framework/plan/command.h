// Runs another program to its end and takes what it prints: Slurm's tools are asked this way.
#pragma once

#include <string>
#include <vector>

namespace aqlm_exp::plan {

struct CommandResult {
  int exit_code = -1;  ///< 128 + signal if one ended it; 127 if it could not be started
  bool timed_out = false;
  std::string out, err;
};

/// Looks the program up in PATH. Signals that wait for this process stay with it: the child starts with none blocked.
/// @param input given to its stdin
CommandResult run_command(const std::vector<std::string>& words, const std::string& input = {}, double timeout_s = 60);

/// Path of a program in PATH; empty when there is none.
std::string find_program(const std::string& name);

}  // namespace aqlm_exp::plan
