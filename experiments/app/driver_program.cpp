#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "experiments/app/driver_commands.h"
#include "experiments/app/show_command.h"
#include "experiments/app/worker_program.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/home.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::app {
namespace {

constexpr const char* kDescription =
    R"(aqlm-exp: compares ways to quantise language models, AQLM against GPTQ, AWQ, HQQ and RTN

Examples:
  aqlm-exp run builtin:configs/sweep_qwen.yaml                the default comparison, into runs/sweep_qwen
  aqlm-exp run my.yaml model.path=Qwen2.5-0.5B method=aqlm,gptq -o out
  aqlm-exp status out --watch                                 what a running sweep is doing
)";

/// Commands that need tensors: the worker runs them.
struct WorkerCommand {
  const char* name;
  const char* doc;
};
constexpr WorkerCommand kWorkerCommands[] = {{"eval", "perplexity of a model on a text"},
                                             {"parity", "compare our logits with stored ones"},
                                             {"tokenize", "token ids of a text"},
                                             {"layer", "quantise one linear layer from a file and print its error"},
                                             {"quantize", "quantise a model and save it"},
                                             {"perf", "time kernels and backends"},
                                             {"generate", "continue a text"},
                                             {"chat", "talk to a model"},
                                             {"describe", "the schema of a trial as JSON"}};

bool is_worker_command(const std::string& word) {
  return std::any_of(std::begin(kWorkerCommands), std::end(kWorkerCommands),
                     [&](const WorkerCommand& command) { return word == command.name; });
}

ShowContext show_context() {
  return {.builtin_roots = {program_home() / "configs"}, .schema = [] { return trial_schema(); }};
}

std::vector<CommandWords> command_words(const CLI::App& app) {
  std::vector<CommandWords> commands;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    CommandWords words{.name = sub->get_name(), .flags = {}, .subcommands = {}, .takes_config = false};
    for (const CLI::Option* option : sub->get_options()) {
      for (const std::string& name : option->get_lnames()) words.flags.push_back("--" + name);
    }
    words.takes_config = words.name == "run" || words.name == "plan";
    if (words.name == "show")
      words.subcommands = {"config", "sweep", "tree", "defaults", "groups", "roots", "component"};
    if (words.name == "completion") words.subcommands = {"bash", "zsh", "fish"};
    commands.push_back(std::move(words));
  }
  return commands;
}

}  // namespace

int run_driver_program(const std::vector<std::string>& arguments) {
  if (!arguments.empty() && is_worker_command(arguments.front())) exec_worker(arguments);
  if (!arguments.empty() && arguments.front() == "show") {
    return show_command({arguments.begin() + 1, arguments.end()}, show_context(), std::cout, std::cerr);
  }
  int exit_code = 0;
  CLI::App app{kDescription, "aqlm-exp"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "aqlm-exp " + build_info().version + " (" + build_info().build_id + ")");
  app.set_help_flag("-h,--help", "this text; after a command: its options");
  add_run_commands(app, arguments, exit_code);
  add_folder_commands(app, exit_code);
  add_doctor_command(app, exit_code);
  add_report_commands(app, exit_code);
  app.add_subcommand("show", "look inside a configuration: config, sweep, tree, defaults, groups, roots, component");
  auto shell = std::make_shared<std::string>();
  CLI::App* completion = app.add_subcommand("completion", "shell completion: source <(aqlm-exp completion bash)");
  completion->add_option("SHELL", *shell, "bash, zsh or fish")->required();
  completion->callback([shell] { std::cout << completion_script(*shell); });
  for (const WorkerCommand& command : kWorkerCommands) app.add_subcommand(command.name, command.doc);

  if (!arguments.empty() && arguments.front() == "__complete") {
    return complete_command({arguments.begin() + 1, arguments.end()}, command_words(app), show_context(), std::cout);
  }
  if (!arguments.empty() && arguments.front().front() != '-') {
    std::vector<std::string> names;
    for (const CommandWords& command : command_words(app)) names.push_back(command.name);
    if (std::find(names.begin(), names.end(), arguments.front()) == names.end()) {
      throw UsageError("unknown command \"" + arguments.front() + "\"; " +
                       config::did_you_mean(config::nearest_names(arguments.front(), names)) +
                       " `aqlm-exp --help` lists them");
    }
  }
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // CLI11 pops from the back
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    const auto chosen = app.get_subcommands();
    throw UsageError(std::string(error.what()) + "; see `aqlm-exp " +
                     (chosen.empty() ? "" : chosen.front()->get_name() + " ") + "--help`");
  }
  return exit_code;
}

}  // namespace aqlm_exp::app
