// `aqlm-exp chat` and `aqlm-exp generate`: a conversation, and one answer.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "experiments/app/chat_loop.h"
#include "experiments/app/json_output.h"
#include "experiments/app/model_options.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/text/stream_decoder.h"

namespace aqlm_exp::app {
namespace {

struct Arguments {
  std::string model, prompt;
  ModelOptions use;
  AnswerOptions answer;
  bool raw = false, json = false;
};

void show(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void run_generate(const Arguments& arguments) {
  const generate::GenerateOptions asked = arguments.answer.generate_options();
  std::string prompt = arguments.prompt;
  if (prompt == "-") prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  const trial::UsableModel model = trial::load_usable(arguments.use.request(arguments.model));
  const auto decoder = generate::make_decoder(
      model.model,
      {.batch = 1, .capacity = context_of(arguments.use, model.model), .cuda_graph = !arguments.use.no_cuda_graph});
  generate::Conversation conversation(model.folder, *model.tokenizer, arguments.raw);
  conversation.set_system(arguments.answer.system);
  conversation.add_user(prompt);
  generate::GenerateOptions options = asked;
  options.stop_tokens = model.stop_tokens;
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  const InterruptWatch watch;
  text::StreamDecoder stream(*model.tokenizer, {.skip_special_tokens = true});
  std::string said;
  const auto say = [&](const std::string& piece) {
    said += piece;
    if (!arguments.json) show(terminal ? without_controls(piece) : piece);
  };
  std::vector<int32_t> held;
  const std::vector<int32_t> ids = conversation.prompt(decoder->capacity() - 1);
  const generate::Answer answer = generate::continue_text(*decoder, held, ids, options, [&](int64_t, int32_t token) {
    say(stream.add(token));
    return !InterruptWatch::take();
  });
  say(stream.finish());
  if (arguments.json) {
    print_json({{"answer", said},
                {"tokens", answer.tokens},
                {"stop_reason", generate::stop_reason_name(answer.reason)},
                {"prompt_tokens", answer.prompt_tokens},
                {"new_tokens", answer.tokens.size()},
                {"prefill_tokens_per_s", answer.prefill_tokens_per_s()},
                {"decode_tokens_per_s", answer.decode_tokens_per_s()},
                {"sampling", generate::describe(options.sampling)},
                {"model", model.name},
                {"about", model.about() + ", " + decoder->description()}});
  } else {
    show("\n");
  }
}

}  // namespace

void talk_to(const trial::UsableModel& model, const generate::GenerateOptions& options, const std::string& system,
             int64_t context, bool cuda_graph, bool raw) {
  use_utf8_locale();
  const auto decoder = generate::make_decoder(model.model, {.batch = 1, .capacity = context, .cuda_graph = cuda_graph});
  generate::Conversation conversation(model.folder, *model.tokenizer, raw);
  conversation.set_system(system);
  ChatSetup setup{.decoder = decoder.get(),
                  .tokenizer = &*model.tokenizer,
                  .conversation = &conversation,
                  .options = options,
                  .model_name = model.name,
                  .about = model.about() + ", " + decoder->description(),
                  .terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1};
  setup.options.stop_tokens = model.stop_tokens;
  const auto reader = make_line_reader();
  chat(setup, *reader, show);
}

void add_chat_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("chat", "talk to a model; exit or Ctrl-D ends");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("MODEL", arguments->model, "Hugging Face folder, quantised ones too")->required();
  add_model_options(*command, arguments->use);
  add_answer_options(*command, arguments->answer);
  command->add_flag("--raw", arguments->raw, "continue the text, also where the tokenizer has a chat template");
  command->callback([arguments] {
    const generate::GenerateOptions options = arguments->answer.generate_options();
    const trial::UsableModel model = trial::load_usable(arguments->use.request(arguments->model));
    talk_to(model, options, arguments->answer.system, context_of(arguments->use, model.model),
            !arguments->use.no_cuda_graph, arguments->raw);
  });
}

void add_generate_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("generate", "answer one prompt, streaming");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("MODEL", arguments->model, "Hugging Face folder, quantised ones too")->required();
  command->add_option("--prompt", arguments->prompt, "the text; -: from stdin")->required();
  add_model_options(*command, arguments->use);
  add_answer_options(*command, arguments->answer);
  command->add_flag("--raw", arguments->raw, "continue the text, also where the tokenizer has a chat template");
  command->add_flag("--json", arguments->json, "one JSON document with tokens and speed");
  command->callback([arguments] { run_generate(*arguments); });
}

}  // namespace aqlm_exp::app
