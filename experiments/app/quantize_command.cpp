// `aqlm-exp quantize`: one setting, from configuration to conversation: quantise, measure quality, save a folder that
// others load, measure speed and memory, talk.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "experiments/app/foreign_options.h"
#include "experiments/app/model_options.h"
#include "experiments/app/perf_run.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/log.h"
#include "framework/generate/generation_config.h"
#include "framework/model/save.h"
#include "framework/plan/plan_config.h"
#include "framework/results/publish.h"
#include "framework/trial/device.h"
#include "framework/trial/run_trial.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::app {
namespace {

namespace fs = std::filesystem;

struct Arguments {
  std::string config, out;
  std::vector<std::string> overrides, config_dirs, words;
  AnswerOptions answer;
  PerfOptions perf;
  bool no_perf = false, no_chat = false;
};

/// Progress of the quantiser on one line of a terminal's stderr.
class ProgressLine {
 public:
  ProgressLine() {
    if (::isatty(STDERR_FILENO) != 1) return;
    set_progress_sink([](std::string_view stage, int64_t done, int64_t total) {
      fmt::print(stderr, "\r{} {}/{}\x1b[K", stage, done, total);
      std::fflush(stderr);
    });
  }
  ~ProgressLine() {
    set_progress_sink({});
    if (::isatty(STDERR_FILENO) == 1) fmt::print(stderr, "\r\x1b[K");
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
};

struct Setting {
  plan::PlannedTrial trial;
  plan::ExpSettings settings;
};

Setting plan_setting(const Arguments& arguments) {
  const plan::ConfigRequest request{.file = arguments.config,
                                    .overrides = arguments.overrides,
                                    .config_dirs = arguments.config_dirs,
                                    .command_line = arguments.words};
  const plan::ExpandedConfig expanded = plan::expand_config(request, "builtin:configs/reference_aqlm.yaml");
  if (expanded.sweep.points.size() != 1) {
    throw ConfigError(
        fmt::format("{}: a sweep of {} settings; quantize takes one: override what varies, or compare all "
                    "of them with `aqlm-exp run {}`",
                    arguments.config, expanded.sweep.points.size(), arguments.config));
  }
  Setting setting;
  setting.settings = expanded.settings;
  setting.trial = plan::plan_config(request, expanded, trial::trial_schema()).trials.at(0);
  return setting;
}

std::string number(const results::TrialRecord& record, const char* name, int digits) {
  const results::Metric* metric = record.find_metric(name);
  return metric == nullptr
             ? "-"
             : fmt::format("{:.{}f}{}{}", metric->value, digits, metric->unit.empty() ? "" : " ", metric->unit);
}

model::CardFacts card_facts(const results::TrialRecord& record, const Arguments& arguments) {
  model::CardFacts facts;
  facts.base_model = record.find_label(results::label::kModel);
  facts.method = record.find_label(results::label::kMethod);
  for (char& c : facts.method) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  facts.setting = record.find_label(results::label::kSetting);
  for (const results::Metric& metric : record.metrics) {
    if (!metric.deterministic) continue;
    facts.figures.emplace_back(metric.name + (metric.description.empty() ? "" : " (" + metric.description + ")"),
                               fmt::format("{:.5g}{}{}", metric.value, metric.unit.empty() ? "" : " ", metric.unit));
  }
  facts.command = "aqlm-exp";
  for (const std::string& word : arguments.words) facts.command += " " + word;
  facts.software = fmt::format("aqlm-exp {} ({})", build_info().version, build_info().build_id);
  return facts;
}

void quantize(const Arguments& arguments) {
  refuse_foreign_options("quantize", arguments.overrides);  // backend=triton
  const generate::GenerateOptions options = arguments.answer.generate_options();
  const Setting setting = plan_setting(arguments);
  const std::string name = fs::path(arguments.config).stem().string();
  const fs::path out = !arguments.out.empty()                 ? fs::path(arguments.out)
                       : !setting.settings.output_dir.empty() ? fs::path(setting.settings.output_dir)
                                                              : fs::path("runs") / name / "model";
  std::error_code error;
  if (fs::exists(out, error) && !(fs::is_directory(out, error) && fs::is_empty(out, error))) {
    throw ConfigError(
        fmt::format("{}: is there already, and a quantised model is not written over it; name another "
                    "folder with -o, or remove it",
                    out.string()));
  }
  config::Reader root(setting.trial.tree);
  const trial::TrialSpec spec = trial::read_trial(root);
  fmt::print("{}: {} {}, device {}\n", spec.model_path.filename().string(), spec.method_type, spec.method->setting(),
             spec.device);
  std::fflush(stdout);

  trial::UsableModel usable;
  const at::Device device = trial::open_device(spec.device);
  usable.before_load = generate::read_memory(device);
  trial::RunOptions run;
  run.on_quantised = [&](const model::Model& quantised) { usable.model = quantised; };
  const results::TrialRecord record = [&] {
    const ProgressLine progress;
    return trial::run_trial(setting.trial, run);
  }();

  fmt::print("quantised in {}\n", number(record, results::metric::kQuantiseS, 1));
  fmt::print("  {:<22} {}\n", "bits per weight", number(record, results::metric::kBitsPerWeight, 3));
  fmt::print("  {:<22} {}  ({})\n", "perplexity", number(record, results::metric::kPerplexity, 4),
             record.find_label(results::label::kConvention));
  if (record.find_metric(results::metric::kKl) != nullptr) {
    fmt::print("  {:<22} {}\n", "KL to the original", number(record, results::metric::kKl, 5));
  }
  fmt::print("  {:<22} {}\n", "model size", number(record, results::metric::kModelMib, 2));

  const std::string refusal = model::aqlm_refusal(usable.model);
  const bool saved = refusal.empty();
  if (saved) {
    const model::CardFacts facts = card_facts(record, arguments);
    model::save_aqlm(usable.model, out, {.source = spec.model_path, .model_card = model::model_card(facts, "aqlm")});
    fmt::print("saved in {}: model, tokenizer, card\n", out.string());
  } else {
    fmt::print("not saved: {}\n", refusal);
  }
  results::publish(record, out / "results");

  if (saved) {                      // what was written is what is measured and talked to
    usable.model = model::Model();  // not held twice
    usable = trial::load_usable({.model = out.string(), .device = spec.device, .backend = spec.backend_type});
  } else {
    usable.name = spec.model_path.filename().string() + " " + spec.method_type;
    usable.folder = spec.model_path;
    usable.tokenizer = text::Tokenizer::load(spec.model_path);
    usable.stop_tokens = generate::stop_tokens(spec.model_path, *usable.tokenizer);
    usable.device = device.str();
    usable.dtype = "float32";
    usable.backend = spec.backend_type;
    usable.after_load = generate::read_memory(device);
  }
  std::vector<trial::UsableModel> models;
  models.push_back(std::move(usable));
  if (!arguments.no_perf) {
    PerfOptions perf = arguments.perf;
    perf.generate = options;
    perf.system = arguments.answer.system;
    const PerfReport report = run_perf(models, perf);
    fmt::print("\n{}", perf_table(report));
    results::publish(perf_record(report, report.models.front()), out / "performance_results");
    if (setting.settings.output_json) {
      const fs::path file = out / "performance_results" / (report.created_utc + ".json");
      write_file_atomically(file, perf_json(report).dump(2) + "\n");
      fmt::print("written to {}\n", file.string());
    }
  }
  std::fflush(stdout);
  if (!arguments.no_chat && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1) {
    fmt::print("\n");
    talk_to(models.front(), options, arguments.answer.system, context_of({}, models.front().model), true, false);
  }
}

}  // namespace

void add_quantize_command(CLI::App& app, const std::vector<std::string>& words) {
  CLI::App* command = app.add_subcommand("quantize", "quantise one setting, save it, measure it, talk to it");
  auto arguments = std::make_shared<Arguments>();
  arguments->words = words;
  arguments->perf.question = kDefaultQuestion;
  command->add_option("CONFIG", arguments->config, "a YAML file, or builtin:configs/reference_aqlm.yaml")->required();
  command->add_option("OVERRIDES", arguments->overrides,
                      "model.path=Qwen2.5-3B, quant.num_codebooks=2, backend=cuda_generic, device=cuda:0, ...");
  command->add_option("-o,--out", arguments->out, "folder for the model (= exp.output.dir)");
  command->add_option("--config-dir", arguments->config_dirs, "further folder of configurations");
  command->add_option("--question", arguments->perf.question, "asked in every round of the performance test")
      ->capture_default_str();
  command->add_option("--repeats", arguments->perf.repeats, "rounds of the performance test; one more warms up")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command->add_option("-p,--pp", arguments->perf.prompt_lengths, "prompt lengths to time as well")->delimiter(',');
  command->add_option("-n,--tg", arguments->perf.answer_lengths, "answer lengths to time as well")->delimiter(',');
  add_answer_options(*command, arguments->answer);
  command->add_flag("--no-perf", arguments->no_perf, "no performance test");
  command->add_flag("--no-chat", arguments->no_chat, "no conversation at the end");
  command->callback([arguments] { quantize(*arguments); });
}

}  // namespace aqlm_exp::app
