#include "framework/trial/run_trial.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/peak_memory.h"
#include "framework/base/timer.h"
#include "framework/config/reader.h"
#include "framework/trial/device.h"
#include "framework/trial/kernel_tables.h"
#include "framework/trial/layer_tables.h"
#include "framework/trial/loss_series.h"
#include "framework/trial/provenance.h"
#include "framework/trial/quality.h"
#include "framework/trial/shared_work.h"
#include "framework/trial/sweep_cache.h"
#include "framework/trial/text_inputs.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::trial {
namespace {

constexpr double kMib = 1024.0 * 1024.0;

/// "scale search" → "scale_search": names in a result are [a-z0-9_].
std::string file_name(std::string text) {
  for (char& c : text) {
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) c = '_';
  }
  return text;
}

class Trial {
 public:
  Trial(const plan::PlannedTrial& planned, const RunOptions& options)
      : planned_(planned), options_(options), cache_(options.cache_dir, options.cache_limit_bytes) {
    config::Reader root(planned.tree);
    spec_ = read_trial(root);
  }

  results::TrialRecord run() {
    const Stopwatch whole;
    describe_trial();
    const at::Device device = open_device(spec_.device);
    refuse_backend(device);
    label(results::label::kHardware, hardware_name(device));
    const DeviceMemoryProbe probe = device_memory_probe(device);
    start_memory(probe);
    Stopwatch watch;
    const TextInputs text = load_text(device);
    const model::Model original = model::load_model(spec_.model_path, device, {.stream = spec_.stream_weights});
    time("load_s", watch.elapsed_s());
    end_memory("load", probe);
    model::Model quantised = quantise(original, text);
    end_memory("quantise", probe);
    measure_size(quantised);
    measure_quality({.spec = spec_,
                     .original = original,
                     .quantised = quantised,
                     .text = text,
                     .model_fingerprint = fingerprint_of("model.path"),
                     .cache = cache_},
                    layers_, record_);
    record_.layers = layer_tables(layers_);
    end_memory("quality", probe);
    if (spec_.measure_speed) {
      measure_speed(quantised, text);
      end_memory("speed", probe);
    }
    metric("peak_host_mib", static_cast<double>(host_peak_bytes()) / kMib, "MiB",
           "largest resident memory of the worker", results::Direction::kMin, false);
    record_.duration_s = whole.elapsed_s();
    if (options_.on_quantised) options_.on_quantised(quantised);
    return std::move(record_);
  }

 private:
  static void start_memory(const DeviceMemoryProbe& probe) {
    restart_host_peak();
    if (probe.restart) probe.restart();
  }
  /// Peak of the stage that ends here, and the start of the next one.
  void end_memory(const std::string& stage, const DeviceMemoryProbe& probe) {
    time("memory/" + stage + "_peak_host_mib", static_cast<double>(host_peak_since_restart_bytes()) / kMib);
    if (probe.peak_bytes) time("memory/" + stage + "_peak_device_mib", static_cast<double>(probe.peak_bytes()) / kMib);
    start_memory(probe);
  }

  void describe_trial() {
    record_.id = planned_.id;
    record_.name = planned_.name;
    record_.attempt = options_.attempt;
    record_.overrides = planned_.overrides;
    record_.config_yaml = plan::to_yaml(planned_.tree);
    record_.config_identity = planned_.identity;
    for (const plan::KeyOrigin& origin : planned_.origin)
      record_.origin.push_back({origin.key, origin.file, origin.line});
    label(results::label::kMethod, spec_.method_type);
    label(results::label::kSetting, spec_.method->setting());
    if (!spec_.preset.empty()) label(results::label::kPreset, spec_.preset);
    label(results::label::kModel, spec_.model_path.filename().string());
    label(results::label::kConvention, spec_.eval.convention.tag());
    add_provenance(record_);
    for (const plan::InputFile& input : planned_.inputs) {
      std::string key = input.key;
      for (char& c : key) c = c == '.' ? '_' : c;
      provenance("inputs/" + key + "/path", input.path);
      provenance("inputs/" + key + "/sha256", input.fingerprint);
    }
    provenance("seed", spec_.seed);
    provenance("rng", "xoshiro256** (arXiv:1805.01407), seeded by SplitMix64");
    provenance("metrics/ppl", "ppl.v1: " + spec_.eval.convention.description());
    provenance(
        "metrics/kl",
        "kl.v1: KL(unquantised || quantised) in nats per token, mean over all positions of a window, then windows");
    provenance("metrics/bits_per_weight",
               "bits.v1: packed codes, codebooks, scales and zero points of the quantised linears over their weights");
  }

  /// A scheme that the backend has no kernel for ends the trial before anything is loaded.
  void refuse_backend(at::Device device) const {
    for (const quant::Scheme& scheme : spec_.method->schemes()) {
      if (const std::string reason = spec_.backend->refusal(scheme, device); !reason.empty()) throw ConfigError(reason);
    }
    const quant::Scheme dense;
    if (const std::string reason = spec_.backend->refusal(dense, device); !reason.empty()) throw ConfigError(reason);
  }

  TextInputs load_text(at::Device device) {
    const std::string model_print = fingerprint_of("model.path");
    TextInputs text = load_text_inputs(
        spec_, device, [&](const std::filesystem::path& path, bool special_tokens, const auto& tokenise) {
          const std::string key = path == spec_.eval.path ? "eval.path" : "calibration.path";
          return shared_tokens(cache_,
                               fmt::format("tokens v2 model {} text {} special {} build {}", model_print,
                                           fingerprint_of(key), special_tokens, record_.build_id),
                               tokenise);
        });
    provenance("eval/text_sha256", text.eval_text_sha256);
    provenance("eval/ids_sha256", text.eval_ids_sha256);
    provenance("eval/num_tokens", static_cast<int64_t>(text.eval_ids.size()));
    provenance("eval/num_windows", static_cast<int64_t>(text.windows.windows.size()));
    if (text.calibration.input_ids.defined()) provenance("calibration/ids_sha256", text.calibration_ids_sha256);
    return text;
  }

  model::Model quantise(const model::Model& original, const TextInputs& text) {
    model::Model quantised = original.clone();
    method::Context context(static_cast<uint64_t>(spec_.seed));
    const std::string build = fmt::format("build {} hardware {} threads {}", record_.build_id,
                                          hardware_name(original.device()), at::get_num_threads());
    std::optional<SharedCalibration> shared;
    if (text.calibration.input_ids.defined()) {
      shared.emplace(cache_, fmt::format("calibration v1 model {} ids {} shape {}x{} {}", fingerprint_of("model.path"),
                                         text.calibration_ids_sha256, text.calibration.input_ids.size(0),
                                         text.calibration.input_ids.size(1), build));
      context.cache = &*shared;
    }
    std::optional<FileCheckpoints> checkpoints;
    if (!options_.checkpoint_dir.empty()) {
      checkpoints.emplace(options_.checkpoint_dir, fmt::format("checkpoint v1 trial {} {}", planned_.id, build));
      context.checkpoints = &*checkpoints;
    }
    const Stopwatch watch;
    spec_.method->quantise(quantised, text.calibration, context);
    metric(results::metric::kQuantiseS, watch.elapsed_s(), "s", "calibration statistics, quantisation and fine-tuning",
           results::Direction::kMin, false);
    for (const auto& [stage, seconds] : context.times.stages()) time("stage/" + file_name(stage) + "_s", seconds);
    for (const auto& [name, value] : context.metrics)
      metric(name, value, "", "reported by the method", results::Direction::kNone);
    for (size_t i = 0; i < context.notes.size(); ++i) provenance(fmt::format("notes/n{}", i), context.notes[i]);
    file_losses(record_, context.curves);
    layers_ = std::move(context.layers);
    if (text.calibration.input_ids.defined()) report_passes(context);
    return quantised;
  }

  /// Which passes of the calibration this trial had to run: what others left in the cache decides, not the identity.
  void report_passes(const method::Context& context) {
    const auto add = [&](const char* name, int64_t count, const char* description) {
      metric(name, static_cast<double>(count), "passes", description, results::Direction::kNone, false);
    };
    add("calibration_passes", context.passes.computed,
        "of the whole calibration through an unquantised block on the unquantised model's activations, run here");
    add("calibration_passes_shared", context.passes.shared, "as calibration_passes, but taken from another trial");
    add("calibration_passes_own", context.passes.own,
        "through a block on activations that depend on this trial's own quantised blocks");
    if (context.blocks_restored > 0) provenance("checkpoint/blocks_restored", context.blocks_restored);
  }

  std::string fingerprint_of(const std::string& key) const {
    for (const plan::InputFile& input : planned_.inputs) {
      if (input.key == key) return input.fingerprint;
    }
    return {};
  }

  void measure_size(model::Model& quantised) {
    const quant::BitCount linears = model::quantised_bits(quantised);
    const quant::BitCount all = model::model_bits(quantised);
    const auto per_linear_weight = [&] {
      if (linears.num_weights > 0) return linears.per_weight();
      quant::BitCount dense;  // the unquantised model: its linears as they are stored
      for (const model::Linear* linear : quantised.linears()) dense += linear->weight->bits();
      return dense.per_weight();
    };
    metric(results::metric::kBitsPerWeight, per_linear_weight(), "bits", "audited, over the quantised linears",
           results::Direction::kMin);
    metric("bits_per_weight_model", all.per_weight(), "bits", "over all weights of the model",
           results::Direction::kMin);
    metric(results::metric::kModelMib, static_cast<double>(all.total_bits()) / 8.0 / kMib, "MiB",
           "stored size of the whole model", results::Direction::kMin);
    quantised.prepare(*spec_.backend);
    // What `auto` chooses depends on the machine's speed.
    const std::vector<backend::Choice> choices = spec_.backend->choices();
    metric("resident_mib", static_cast<double>(quantised.resident_bytes()) / kMib, "MiB",
           "weights held in memory by this backend", results::Direction::kMin, choices.empty());
    label("backend", spec_.backend_type);
    file_choices(record_, choices);
  }

  void measure_speed(const model::Model& quantised, const TextInputs& text) {
    const generate::Speed speed = generate::measure_speed(quantised, text.eval_ids, spec_.speed);
    const auto add = [&](const char* name, const std::vector<double>& values, const std::string& description) {
      metric(name, generate::median(values), "tokens/s", description + ", median of the repeats",
             results::Direction::kMax, false);
      record_.metrics.back().n = static_cast<int64_t>(values.size());
      record_.samples.push_back(
          {.name = name, .unit = "tokens/s", .description = description, .values = values, .deterministic = false});
    };
    add(results::metric::kDecodeTokensPerS, speed.decode_tokens_per_s, "greedy decoding, batch 1");
    add("prefill_tokens_per_s", speed.prefill_tokens_per_s, "prompt processing, batch 1");
    file_shares(record_, generate::kernel_shares(quantised, text.eval_ids, spec_.speed));
  }

  void label(const std::string& name, const std::string& text) { record_.labels.emplace_back(name, text); }
  void time(const std::string& name, double seconds) { record_.timing.emplace_back(name, seconds); }
  void provenance(const std::string& key, results::Value value) {
    record_.provenance.emplace_back(key, std::move(value));
  }
  void metric(const std::string& name, double value, const std::string& unit, const std::string& description,
              results::Direction direction, bool deterministic = true) {
    record_.metrics.push_back({.name = name,
                               .value = value,
                               .unit = unit,
                               .description = description,
                               .direction = direction,
                               .deterministic = deterministic});
  }

  const plan::PlannedTrial& planned_;
  RunOptions options_;
  SweepCache cache_;
  TrialSpec spec_;
  std::vector<method::LayerReport> layers_;
  results::TrialRecord record_;
};

}  // namespace

results::TrialRecord run_trial(const plan::PlannedTrial& trial, const RunOptions& options) {
  return Trial(trial, options).run();
}

}  // namespace aqlm_exp::trial
