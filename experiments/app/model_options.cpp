#include "experiments/app/model_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "framework/base/error.h"

namespace aqlm_exp::app {

trial::UseRequest ModelOptions::request(const std::string& model) const {
  return {.model = model, .device = device, .dtype = dtype, .backend = backend};
}

void add_model_options(CLI::App& command, ModelOptions& options, bool with_context) {
  command.add_option("--device", options.device, "cpu, cuda, cuda:N, auto (a GPU if there is one)")
      ->capture_default_str();
  command.add_option("--dtype", options.dtype, "float32, float16, bfloat16, auto (on a GPU the model's own)")
      ->capture_default_str();
  command.add_option("--backend", options.backend, "what runs the linears; auto measures")->capture_default_str();
  if (with_context) {
    command.add_option("--context", options.context, "tokens of prompt and answer together; 0: the command's choice")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
  }
  command.add_flag("--no-cuda-graph", options.no_cuda_graph, "decode operator by operator on a GPU");
}

generate::GenerateOptions AnswerOptions::generate_options() const {
  generate::GenerateOptions out;
  out.max_new_tokens = max_new_tokens;
  out.sampling = sampling;
  if (greedy) out.sampling.temperature = 0;
  try {
    generate::sample_params(out.sampling);
  } catch (const ConfigError& error) {
    throw UsageError(error.what());
  }
  return out;
}

void add_answer_options(CLI::App& command, AnswerOptions& options) {
  command.add_option("--temperature", options.sampling.temperature, "0 is greedy")->capture_default_str();
  command.add_option("--top-k", options.sampling.top_k, "the k most likely tokens; 0: all")->capture_default_str();
  command.add_option("--top-p", options.sampling.top_p, "the most likely tokens up to this share; 1: all")
      ->capture_default_str();
  command.add_option("--min-p", options.sampling.min_p, "tokens with at least this share of the likeliest one's; 0: all")
      ->capture_default_str();
  command
      .add_option("--repetition-penalty", options.sampling.repetition_penalty,
                  "divides the logits of tokens that occurred; 1: none")
      ->capture_default_str();
  command.add_option("--seed", options.sampling.seed, "same seed, same answer")->capture_default_str();
  command.add_flag("--greedy", options.greedy, "always the likeliest token");
  command.add_option("--max-new-tokens", options.max_new_tokens, "length of an answer at most")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24));
  command.add_option("--system", options.system, "system message; without a chat template: text before everything");
}

int64_t context_of(const ModelOptions& options, const model::Model& model) {
  constexpr int64_t kUsual = 4096;
  const int64_t most = model.rotary->num_positions();
  if (options.context > most) {
    throw UsageError(fmt::format("--context: got {}, the model has {} positions", options.context, most));
  }
  return options.context > 0 ? options.context : std::min(kUsual, most);
}

}  // namespace aqlm_exp::app
