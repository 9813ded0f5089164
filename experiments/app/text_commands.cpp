// `aqlm-exp eval` and `aqlm-exp tokenize`: a model's perplexity on a text, and a text's tokens.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <fstream>

#include "experiments/app/json_output.h"
#include "experiments/app/trial_commands.h"
#include "framework/backend/backend.h"
#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/sha256.h"
#include "framework/config/reader.h"
#include "framework/eval/evaluate.h"
#include "framework/model/model.h"
#include "framework/text/text_set.h"
#include "framework/text/tokenizer.h"
#include "framework/trial/device.h"

namespace aqlm_exp::app {
namespace {

struct EvalArguments {
  std::string model, text, reference, device = "cpu";
  int64_t seq_len = 1024, max_windows = 0;
  bool json = false;
};

void evaluate(const EvalArguments& arguments) {
  const at::Device device = trial::open_device(arguments.device);
  eval::Convention convention;
  convention.seq_len = convention.stride = arguments.seq_len;
  convention.max_windows = arguments.max_windows;
  const text::Tokenizer tokenizer = text::Tokenizer::load(arguments.model);
  const text::TextSet set = text::load_text_set(arguments.text, tokenizer);
  model::Model model = model::load_model(arguments.model, device);
  const std::vector<at::Tensor> windows = eval::make_windows(set.ids, convention, device);
  config::Node empty = config::Node::map();
  config::Reader reader(empty);
  model.prepare(*backend::backends().find("dense")->maker(reader));
  std::unique_ptr<eval::ReferenceLogits> reference;
  std::optional<model::Model> original;
  if (!arguments.reference.empty()) {
    original = model::load_model(arguments.reference, device);
    reference = eval::logits_from_model(*original);
  }
  const eval::Evaluation result = eval::evaluate(model, windows, reference.get());
  Json json = {{"ppl", result.perplexity},
               {"convention", convention.tag()},
               {"convention_description", convention.description()},
               {"num_tokens", set.ids.size()},
               {"num_windows", result.num_windows},
               {"num_scored_tokens", result.num_scored_tokens},
               {"text_sha256", set.text_sha256},
               {"ids_sha256", set.ids_sha256},
               {"wall_s", result.wall_s}};
  if (result.kl) {
    json["kl"] = *result.kl;
    json["top1_agreement"] = *result.top1_agreement;
  }
  if (arguments.json) {
    print_json(json);
    return;
  }
  fmt::print("perplexity {:.4f} ({}: {})\n", result.perplexity, convention.tag(), convention.description());
  if (result.kl)
    fmt::print("KL to {} {:.5f} nats/token, same top token {:.2f}%\n", arguments.reference, *result.kl,
               100 * *result.top1_agreement);
  fmt::print("{} tokens, {} windows, {:.1f} s\n", set.ids.size(), result.num_windows, result.wall_s);
}

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

void add_eval_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "perplexity of a model on a text");
  auto arguments = std::make_shared<EvalArguments>();
  command->add_option("MODEL_DIR", arguments->model, "Hugging Face folder")->required();
  command->add_option("--text", arguments->text, "one UTF-8 text")->required();
  command->add_option("--seq-len", arguments->seq_len, "tokens in a window")
      ->capture_default_str()
      ->check(CLI::Range(2, 1 << 20));
  command->add_option("--max-windows", arguments->max_windows, "first windows only; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--reference", arguments->reference, "model to compute the KL divergence to");
  command->add_option("--device", arguments->device, "cpu, cuda, cuda:N, auto")->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { evaluate(*arguments); });
}

void add_tokenize_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tokenize", "token ids of a text");
  auto arguments = std::make_shared<TokenizeArguments>();
  command->add_option("MODEL_DIR", arguments->model, "folder with tokenizer.json")->required();
  command->add_option("--file", arguments->file, "one UTF-8 text")->required();
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { tokenize(*arguments); });
}

}  // namespace aqlm_exp::app
