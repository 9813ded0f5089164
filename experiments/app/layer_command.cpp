// `aqlm-exp layer`: one linear layer from a file, quantised by the method and parts that the overrides choose.
#include <ATen/ATen.h>

#include <CLI/CLI.hpp>

#include "experiments/app/json_output.h"
#include "experiments/app/trial_commands.h"
#include "framework/base/error.h"
#include "framework/base/home.h"
#include "framework/base/timer.h"
#include "framework/checkpoint/checkpoint.h"
#include "framework/config/check.h"
#include "framework/config/compose.h"
#include "framework/method/method.h"
#include "framework/model/mapped_weight.h"
#include "framework/quant/layer_problem.h"
#include "framework/trial/device.h"

namespace aqlm_exp::app {
namespace {

struct Arguments {
  std::string file;
  std::vector<std::string> overrides;
  bool json = false;
};

struct LayerSpec {
  std::unique_ptr<method::Method> method;
  int64_t seed = 0;
  std::string device;
};

LayerSpec read_layer_spec(config::Reader& root) {
  LayerSpec spec;
  spec.method = root.variant<method::Method>("method.type", method::methods(), "aqlm");
  root.section("method").text("preset", {.fallback = "", .doc = "name of the set of choices", .identity = false});
  spec.seed = root.integer("seed", {.fallback = 0, .min = 0, .doc = "of everything random"});
  spec.device = root.text("device", {.fallback = "cpu", .doc = "cpu, cuda, cuda:N, auto"});
  return spec;
}

void layer(const Arguments& arguments) {
  const std::filesystem::path configs = program_home() / "configs";
  const config::Composition composed =
      config::compose({.file = configs / "layer.yaml", .overrides = arguments.overrides, .roots = {configs}});
  std::vector<config::Problem> problems;
  const config::Object schema = config::describe([](config::Reader& root) { read_layer_spec(root); });
  const config::Node tree = config::check(composed.tree, schema, problems);
  if (!problems.empty()) throw config::CompositionError(problems);
  config::Reader root(tree);
  const LayerSpec spec = read_layer_spec(root);
  const at::Device device = trial::open_device(spec.device);

  const checkpoint::Checkpoint file = checkpoint::Checkpoint::open(arguments.file);
  const at::Tensor xtx = model::read_tensor(file, "xtx");
  const quant::LayerProblem problem{.weight = model::read_tensor(file, "weight").to(device, at::kFloat),
                                    .xtx = xtx.to(device, xtx.scalar_type() == at::kDouble ? at::kDouble : at::kFloat),
                                    .name = std::filesystem::path(arguments.file).stem().string()};
  quant::check_problem(problem);
  method::Context context(static_cast<uint64_t>(spec.seed));
  const Stopwatch watch;
  const std::shared_ptr<quant::Weight> weight = spec.method->quantise_layer(problem, context);
  const double seconds = watch.elapsed_s();
  const at::Tensor approximation = weight->dequantise().detach();

  Json stages = Json::object();
  for (const auto& [stage, time] : context.times.stages()) stages[stage] = time;
  Json json = {{"format", weight->format()},
               {"out_features", problem.weight.size(0)},
               {"in_features", problem.weight.size(1)},
               {"rel_output_error", quant::relative_output_error(approximation, problem.weight, problem.xtx)},
               {"rel_weight_error", quant::relative_weight_error(approximation, problem.weight)},
               {"bits_per_weight", weight->bits().per_weight()},
               {"seconds", seconds},
               {"stage_seconds", stages}};
  for (const auto& [name, value] : context.metrics) json[name] = value;
  if (arguments.json) {
    print_json(json);
    return;
  }
  fmt::print(
      "{} [{}, {}] as {}: relative output error {:.5f}, relative weight error {:.5f}, {:.3f} bits per weight, {:.1f} "
      "s\n",
      problem.name, problem.weight.size(0), problem.weight.size(1), weight->format(),
      json["rel_output_error"].get<double>(), json["rel_weight_error"].get<double>(), weight->bits().per_weight(),
      seconds);
  for (const auto& [stage, time] : context.times.stages()) fmt::print("  {:<10} {:8.2f} s\n", stage, time);
}

}  // namespace

void add_layer_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("layer", "quantise one linear layer from a file and print its error");
  auto arguments = std::make_shared<Arguments>();
  command->add_option("FILE", arguments->file, "safetensors with weight [out, in] and xtx [in, in]")->required();
  command->add_option("OVERRIDES", arguments->overrides,
                      "method=gptq, quant.num_codebooks=1, encoder.beam_size=8, ...");
  command->add_flag("--json", arguments->json, "one JSON document");
  command->callback([arguments] { layer(*arguments); });
}

}  // namespace aqlm_exp::app
