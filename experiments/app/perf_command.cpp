// `aqlm-exp perf`: how fast models answer and what memory they take, side by side.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "experiments/app/model_options.h"
#include "experiments/app/perf_run.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/log.h"
#include "framework/results/publish.h"

namespace aqlm_exp::app {
namespace {

struct Arguments {
  std::vector<std::string> models;
  ModelOptions use;
  AnswerOptions answer;
  PerfOptions perf;
  std::string hdf5, scheme;
  uint64_t random_seed = 0;
  bool random = false, json = false, no_question = false;
};

void perf(const Arguments& arguments) {
  PerfOptions options = arguments.perf;
  options.generate = arguments.answer.generate_options();
  options.system = arguments.answer.system;
  if (!arguments.scheme.empty() && !arguments.random) {
    throw UsageError("--scheme: got it without --random; it says what random weights are stored as");
  }
  options.context = arguments.use.context;
  options.cuda_graph = !arguments.use.no_cuda_graph;
  if (arguments.no_question) options.question.clear();
  std::vector<trial::UsableModel> models;
  for (const std::string& name : arguments.models) {
    trial::UseRequest request = arguments.use.request(name);
    request.random = arguments.random;
    request.seed = arguments.random_seed;
    request.scheme = arguments.scheme;
    models.push_back(trial::load_usable(request));
  }
  if (models.front().tokenizer == std::nullopt && options.prompt_lengths.empty() && options.answer_lengths.empty()) {
    options.prompt_lengths = {512};
    options.answer_lengths = {128};
  }
  const PerfReport report = run_perf(models, options);
  if (!arguments.hdf5.empty()) {
    for (const PerfModel& model : report.models) {
      const results::Published published = results::publish(perf_record(report, model), arguments.hdf5);
      log_info("{}", published.file.string());
    }
  }
  if (arguments.json) {
    print_json(perf_json(report));
  } else {
    fmt::print("{}", perf_table(report));
  }
}

}  // namespace

void add_perf_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("perf", "speed and memory of models, side by side");
  auto arguments = std::make_shared<Arguments>();
  arguments->perf.question = kDefaultQuestion;
  command->add_option("MODEL", arguments->models, "Hugging Face folders; several are measured in turn")->required();
  add_model_options(*command, arguments->use);
  command->add_option("-p,--pp", arguments->perf.prompt_lengths, "prompt lengths to time, e.g. 128,512")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command->add_option("-n,--tg", arguments->perf.answer_lengths, "answer lengths to time, e.g. 32,128")
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  command->add_option("-d,--depth", arguments->perf.depths, "tokens in the cache before, e.g. 0,1024")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber);
  command->add_option("-r,--repeats", arguments->perf.repeats, "counted rounds; one more warms up")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_option("--question", arguments->perf.question, "asked in every round")->capture_default_str();
  command->add_flag("--no-question", arguments->no_question, "lengths alone");
  add_answer_options(*command, arguments->answer);
  command->add_flag("--random", arguments->random,
                    "random weights of a shape: MODEL is a config.json, or a folder with one");
  command->add_option("--scheme", arguments->scheme,
                      "with --random: linears as additive codes, MxN or \"MxN gG\", e.g. 2x8");
  command->add_option("--random-seed", arguments->random_seed, "of the weights")->capture_default_str();
  command->add_option("--hdf5", arguments->hdf5, "folder for one result file a model (docs/results-format.md)");
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { perf(*arguments); });
}

}  // namespace aqlm_exp::app
