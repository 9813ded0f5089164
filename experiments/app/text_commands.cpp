// `aqlm-exp tokenize`: a text's tokens.
#include <CLI/CLI.hpp>

#include "experiments/app/json_output.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/file.h"
#include "framework/text/text_set.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::app {
namespace {

struct TokenizeArguments {
  std::string model, file;
  bool json = false;
};

void tokenize(const TokenizeArguments& arguments) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(arguments.model);
  const std::string whole = read_regular_file(arguments.file, uint64_t{4} << 30, "X");
  const std::vector<int32_t> ids = tokenizer.encode(whole);
  const std::string decoded = tokenizer.decode(ids);
  if (arguments.json) {
    print_json({{"num_tokens", ids.size()}, {"ids", ids}, {"decoded", decoded}, {"ids_sha256", text::ids_sha256(ids)}});
    return;
  }
  for (const int32_t id : ids) fmt::print("{}\n", id);
}

}  // namespace

void add_tokenize_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "token ids of a text");
  auto arguments = std::make_shared<TokenizeArguments>();
  command->add_option("MODEL_DIR", arguments->model, "folder with tokenizer.json")->required();
  command->add_option("--file", arguments->file, "one UTF-8 text")->required();
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { tokenize(*arguments); });
}

}  // namespace aqlm_exp::app
