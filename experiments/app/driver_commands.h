// The commands of aqlm-exp, the driver.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "framework/plan/out_folder.h"
#include "framework/plan/plan_config.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/settings.h"

namespace CLI {
class App;
}

namespace aqlm_exp::app {

/// Runs one command line (without the program's name). @return the exit code. @throws Error
int run_driver_program(const std::vector<std::string>& arguments);

/// Each adds sub-commands; their callbacks set `exit_code` or throw.
/// @param command_line the words as typed, for messages that repeat them
void add_run_commands(CLI::App& app, const std::vector<std::string>& command_line, int& exit_code);
void add_folder_commands(CLI::App& app, int& exit_code);
void add_doctor_command(CLI::App& app, int& exit_code);
void add_report_commands(CLI::App& app, int& exit_code);

/// What a configuration file and overrides ask for, checked.
struct LoadedSweep {
  plan::Plan plan;
  plan::ExpSettings settings;
  std::vector<std::string> warnings;
};
LoadedSweep load_sweep(const plan::ConfigRequest& request);

/// Opens OUT of an existing sweep. @throws DataError when it holds no plan
plan::Plan open_out(const plan::OutFolder& out);

/// The trial that a name or a prefix of an id means. @throws UsageError when none or several do
const plan::PlannedTrial& find_trial(const plan::Plan& plan, const std::string& text);

/// Rebuilds OUT/sweep.h5 if its sources changed; prints what was left out.
void merge_out(const plan::OutFolder& out, const plan::Plan& plan);

/// Writes OUT/report and says where. Trouble is a warning: the results do not depend on it.
void write_out_report(const plan::OutFolder& out);

}  // namespace aqlm_exp::app
