// The commands of the worker binary.
#pragma once

#include <string>
#include <vector>

#include "framework/generate/generate.h"
#include "framework/trial/usable_model.h"

namespace CLI {
class App;
}

namespace aqlm_exp::app {

/// Parses the command line (without the program's name) and runs one command.
/// @return the exit code; of `run` one of plan::WorkerExit. @throws Error
int run_trial_program(const std::vector<std::string>& arguments);

// Each adds one sub-command; its callback sets `exit_code` or throws.
void add_run_command(CLI::App& app, int& exit_code);
void add_describe_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_parity_command(CLI::App& app);
void add_tokenize_command(CLI::App& app);
void add_layer_command(CLI::App& app);
void add_chat_command(CLI::App& app);
void add_generate_command(CLI::App& app);
void add_perf_command(CLI::App& app);
/// @param words the command line as typed, for the model card
void add_quantize_command(CLI::App& app, const std::vector<std::string>& words);

/// Chats at the terminal, or through stdin and stdout.
/// @param raw continue the text, also where the tokenizer has a chat template
void talk_to(const trial::UsableModel& model, const generate::GenerateOptions& options, const std::string& system,
             int64_t context, bool cuda_graph, bool raw);

}  // namespace aqlm_exp::app
