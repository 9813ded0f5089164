// Options of other programs that someone types here, answered with ours.
#pragma once

#include <string>
#include <vector>

namespace aqlm_exp::app {

/// One line for each word of a command line that belongs to another program ("--num_codebooks 2": write
/// quant.num_codebooks=2). Knows the guide's script, AQLM's main.py, and the usual names of GPTQ, AWQ and HQQ.
std::vector<std::string> foreign_options(const std::vector<std::string>& words);

/// @throws UsageError with all lines of foreign_options(), if there are any
void refuse_foreign_options(const std::string& command, const std::vector<std::string>& words);

}  // namespace aqlm_exp::app
