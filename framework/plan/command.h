// Command lines: run another program to its end and take what it prints (Slurm's tools are asked this way), or write
// one down for a shell.
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

/// A word for a POSIX shell.
std::string shell_quoted(const std::string& word);
std::string shell_command(const std::vector<std::string>& words);

}  // namespace aqlm_exp::plan
