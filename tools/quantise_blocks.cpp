// Quantises the first blocks of a model whose weights stay in their files, and says what that took: peak resident
// memory, time a block, time of the whole model if all blocks are alike. The calibration is random tokens.
//
//   quantise_blocks MODEL_DIR --blocks 2 --samples 32 --seq-len 2048 --method '{"method": {"type": "aqlm"}, ...}'
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/peak_memory.h"
#include "framework/base/timer.h"
#include "framework/config/check.h"
#include "framework/method/method.h"
#include "framework/model/model.h"
#include "framework/trial/device.h"

namespace aqlm_exp {
namespace {

struct Arguments {
  std::string model, method = R"({"method": {"type": "aqlm"}})";
  std::string device = "cpu";
  int64_t blocks = 2, samples = 32, seq_len = 2048;
  uint64_t seed = 0;
};

double gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

double cpu_s() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::unique_ptr<method::Method> read_method(const std::string& json) {
  const auto read = [](config::Reader& root) {
    return root.variant<method::Method>("method.type", method::methods(), "aqlm");
  };
  std::vector<config::Problem> problems;
  const config::Node tree = config::check(config::from_json(json, "--method"),
                                          config::describe([&](config::Reader& root) { read(root); }), problems);
  if (!problems.empty()) throw ConfigError(config::problems_to_text(problems));
  config::Reader root(tree);
  return read(root);
}

nlohmann::ordered_json quantise(const Arguments& arguments) {
  const std::unique_ptr<method::Method> method = read_method(arguments.method);
  const at::Device device = trial::open_device(arguments.device);
  const Stopwatch load;
  model::Model model = model::load_model(arguments.model, device, {.stream = true});
  const double load_s = load.elapsed_s(), loaded_gib = gib(host_peak_bytes());
  const size_t all_blocks = model.blocks.size();
  const size_t num_blocks = std::min(static_cast<size_t>(arguments.blocks), all_blocks);
  model.blocks.erase(model.blocks.begin() + static_cast<std::ptrdiff_t>(num_blocks), model.blocks.end());
  method::Calibration calibration;
  calibration.input_ids = at::randint(model.config.vocab_size, {arguments.samples, arguments.seq_len}, at::kLong);
  method::Context context(arguments.seed);
  const Stopwatch watch;
  const double cpu_before = cpu_s();
  method->quantise(model, calibration, context);
  const double wall_s = watch.elapsed_s(), cpu = cpu_s() - cpu_before;
  const double scale = static_cast<double>(all_blocks) / static_cast<double>(num_blocks);
  nlohmann::ordered_json out = {{"device", trial::hardware_name(device)},
                                {"threads", at::get_num_threads()},
                                {"setting", method->setting()},
                                {"blocks", num_blocks},
                                {"tokens", arguments.samples * arguments.seq_len},
                                {"load_s", load_s},
                                {"loaded_gib", loaded_gib},
                                {"peak_resident_gib", gib(host_peak_bytes())},
                                {"wall_s", wall_s},
                                {"cpu_s", cpu},
                                {"all_blocks", all_blocks},
                                {"all_blocks_wall_s", wall_s * scale},
                                {"all_blocks_cpu_s", cpu * scale},
                                {"bits_per_weight", model::quantised_bits(model).per_weight()}};
  const trial::DeviceMemoryProbe probe = trial::device_memory_probe(device);
  if (probe.peak_bytes) out["peak_device_gib"] = gib(probe.peak_bytes());
  for (const auto& [stage, seconds] : context.times.stages()) out["stages_s"][stage] = seconds;
  for (const method::LayerReport& layer : context.layers) {
    for (const char* name : {"rel_output_error", "rounds", "seconds"}) {
      const auto found = layer.metrics.find(name);
      if (found != layer.metrics.end()) out["layers"][layer.name][name] = found->second;
    }
  }
  return out;
}

}  // namespace
}  // namespace aqlm_exp

int main(int argc, char** argv) {
  CLI::App app("memory and time of quantising a model's first blocks");
  aqlm_exp::Arguments arguments;
  int threads = 0;
  app.add_option("MODEL_DIR", arguments.model, "Hugging Face folder")->required();
  app.add_option("--device", arguments.device, "cpu, cuda:0, ...")->capture_default_str();
  app.add_option("--blocks", arguments.blocks, "how many")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--samples", arguments.samples, "calibration sequences")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seq-len", arguments.seq_len, "tokens of one")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--method", arguments.method, "method and its sections, JSON")->capture_default_str();
  app.add_option("--seed", arguments.seed, "of everything random")->capture_default_str();
  app.add_option("--threads", threads, "0: all cores");
  CLI11_PARSE(app, argc, argv);
  try {
    if (threads > 0) at::set_num_threads(threads);
    at::manual_seed(arguments.seed);
    fmt::print("{}\n", aqlm_exp::quantise(arguments).dump(1));
  } catch (const aqlm_exp::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
