// `aqlm-exp tasks`: multiple-choice tasks from local files.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "experiments/app/json_output.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/eval/task.h"
#include "framework/model/model.h"
#include "framework/text/tokenizer.h"
#include "framework/trial/device.h"
#include "framework/trial/usable_model.h"

namespace aqlm_exp::app {
namespace {

struct TasksArguments {
  std::string model, output, device = "cpu";
  std::vector<std::string> files;
  int64_t limit = 0, max_length = 0, batch_tokens = 4096;
  bool add_bos = false, json = false;
};

void tasks(const TasksArguments& arguments) {
  const at::Device device = trial::open_device(arguments.device);
  std::vector<eval::Task> loaded;
  for (const std::string& file : arguments.files) {
    const size_t equals = file.find('=');
    const bool named = equals != std::string::npos && !std::filesystem::exists(file);
    loaded.push_back(
        eval::load_task(named ? file.substr(equals + 1) : file, named ? file.substr(0, equals) : "", arguments.limit));
    for (size_t i = 0; i + 1 < loaded.size(); ++i) {
      if (loaded[i].name == loaded.back().name) {
        throw UsageError(fmt::format("tasks: {} twice; name them: NAME=FILE", loaded[i].name));
      }
    }
  }
  const text::Tokenizer tokenizer = text::Tokenizer::load(arguments.model);
  model::Model model = model::load_model(arguments.model, device);
  model.prepare(*trial::backend_named("dense"));
  eval::TaskOptions options = eval::task_options(model, tokenizer, arguments.model);
  options.add_special_tokens = arguments.add_bos;
  options.batch_tokens = arguments.batch_tokens;
  if (arguments.max_length > 0) options.max_length = arguments.max_length;
  std::vector<eval::TaskResult> results;
  for (const eval::Task& task : loaded) results.push_back(eval::run_task(model, tokenizer, task, options));
  const Json json = eval::harness_results(loaded, results, arguments.model);
  if (!arguments.output.empty()) {
    const std::filesystem::path folder = arguments.output;
    std::filesystem::create_directories(folder);
    write_file_atomically(folder / "results.json", json.dump(2) + "\n");
    for (size_t i = 0; i < loaded.size(); ++i) {
      write_file_atomically(folder / ("samples_" + loaded[i].name + ".jsonl"),
                            eval::harness_samples(loaded[i], results[i]));
    }
  }
  if (arguments.json) {
    print_json(json);
    return;
  }
  for (size_t i = 0; i < loaded.size(); ++i) {
    fmt::print("{} ({}, {} questions): acc {:.4f} ± {:.4f}", loaded[i].name, loaded[i].layout,
               loaded[i].questions.size(), results[i].acc, results[i].acc_stderr);
    if (loaded[i].has_acc_norm())
      fmt::print(", acc_norm {:.4f} ± {:.4f}", results[i].acc_norm, results[i].acc_norm_stderr);
    fmt::print(", {:.1f} s\n", results[i].wall_s);
  }
}

}  // namespace

void add_tasks_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("tasks", "multiple-choice tasks from local files, as lm-evaluation-harness");
  auto arguments = std::make_shared<TasksArguments>();
  command->add_option("MODEL_DIR", arguments->model, "Hugging Face folder")->required();
  command
      ->add_option("FILE", arguments->files,
                   "JSON lines: ARC, HellaSwag, PIQA, WinoGrande, or the harness's sample logs; NAME=FILE names it")
      ->required();
  command->add_option("--limit", arguments->limit, "first questions only; 0: all")->check(CLI::NonNegativeNumber);
  command
      ->add_option("--max-length", arguments->max_length, "longer inputs lose their beginning; 0: what the model takes")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--batch-tokens", arguments->batch_tokens, "tokens of one forward pass")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command->add_flag("--add-bos", arguments->add_bos, "the tokenizer's special tokens in front of contexts");
  command->add_option("--output", arguments->output, "folder for results.json and samples_*.jsonl");
  command->add_option("--device", arguments->device, "cpu, cuda, cuda:N, auto")->capture_default_str();
  command->add_flag("--json", arguments->json, "one JSON document, the harness's results file");
  command->callback([arguments] { tasks(*arguments); });
}

}  // namespace aqlm_exp::app
