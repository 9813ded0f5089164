#include "experiments/app/trial_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "experiments/app/foreign_options.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"

namespace aqlm_exp::app {

int run_trial_program(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && arguments.front() == "quantize") refuse_foreign_options("quantize", arguments);
  CLI::App app{"aqlm-exp-trial: the worker of aqlm-exp", "aqlm-exp-trial"};
  app.require_subcommand(1);
  app.set_version_flag("--version", build_info().version + " (" + build_info().build_id + ")");
  int exit_code = 0;
  add_run_command(app, exit_code);
  add_describe_command(app);
  add_eval_command(app);
  add_parity_command(app);
  add_tokenize_command(app);
  add_layer_command(app);
  add_chat_command(app);
  add_generate_command(app);
  add_perf_command(app);
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 pops from the back
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    throw UsageError(std::string(e.what()) + "; see aqlm-exp " +
                     (app.get_subcommands().empty() ? "" : app.get_subcommands().front()->get_name() + " ") + "--help");
  }
  return exit_code;
}

}  // namespace aqlm_exp::app
