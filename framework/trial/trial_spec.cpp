#include "framework/trial/trial_spec.h"

namespace aqlm_exp::trial {
namespace {

CalibrationSpec read_calibration(config::Reader in) {
  CalibrationSpec spec;
  spec.path = in.path("path", {.fallback = "builtin:models/text/sampled_calibration.txt", .doc = "one UTF-8 text"});
  spec.num_samples = in.integer("num_samples", {.fallback = 128, .min = 1, .unit = "sequences", .doc = "how many"});
  spec.seq_len =
      in.integer("seq_len", {.fallback = 1024, .min = 2, .max = 1 << 20, .unit = "tokens", .doc = "of a sequence"});
  spec.sampling = in.text("sampling", {.fallback = "first",
                                       .choices = {"first", "random"},
                                       .doc = "first: the first windows of the text; random: seeded random crops"});
  spec.activations = in.text(
      "activations",
      {.fallback = "quantised",
       .choices = {"quantised", "original"},
       .doc = "of aqlm and gptq: what a block is calibrated on, outputs of the quantised blocks before it (as in the "
              "papers) or of the unquantised model, which all methods of a sweep share"});
  const std::string experts = in.text("experts", {.fallback = "routed",
                                                  .choices = {"routed", "all"},
                                                  .doc = "tokens that an expert of a mixture is calibrated on: those "
                                                         "the router sends it, or all"});
  spec.all_experts = experts == "all";
  spec.min_expert_tokens =
      in.integer("min_expert_tokens",
                 {.fallback = 1, .min = 1, .unit = "tokens", .doc = "an expert that saw fewer is rounded to nearest"});
  return spec;
}

EvalSpec read_eval(config::Reader in) {
  EvalSpec spec;
  spec.path = in.path("path", {.fallback = "builtin:models/text/sampled_eval.txt", .doc = "one UTF-8 text"});
  spec.convention = eval::read_convention(in);
  spec.also = eval::read_further_conventions(in, spec.convention);
  spec.kl = in.flag("kl", {.fallback = true, .doc = "KL divergence and top-1 agreement with the unquantised model"});
  spec.reference_cache_mib =
      in.integer("reference_cache_mib",
                 {.fallback = 1024,
                  .min = 0,
                  .unit = "MiB",
                  .doc = "keep the unquantised model's log-probabilities on disk up to this size, for the whole sweep",
                  .identity = false});
  spec.store_tokens = in.flag("store_tokens", {.fallback = true, .doc = "keep each token's loss and KL in the result"});
  spec.noise_floor = in.flag(
      "noise_floor", {.fallback = true, .doc = "with method none and kl: KL that bfloat16 linears alone cause"});
  spec.attribution = in.text("attribution", {.fallback = "none",
                                             .choices = {"none", "linears", "blocks"},
                                             .doc = "KL of each quantised part alone in the unquantised model"});
  spec.attribution_windows = in.integer(
      "attribution_windows", {.fallback = 4, .min = 1, .unit = "windows", .doc = "first windows, for attribution"});
  in.sections("tasks", {.doc = "multiple-choice tasks to score"}, [&](config::Reader& task) {
    spec.tasks.push_back(
        {.path =
             task.path("path", {.doc = "JSON lines: ARC, HellaSwag, PIQA, WinoGrande, or the harness's sample logs"}),
         .name = task.text("name", {.fallback = "", .doc = "in the result; empty: the file's stem"}),
         .limit = task.integer("limit", {.fallback = 0, .min = 0, .doc = "first questions only; 0: all"})});
  });
  if (in.describing()) spec.tasks.clear();
  return spec;
}

}  // namespace

TrialSpec read_trial(config::Reader& root) {
  TrialSpec spec;
  config::Reader model = root.section("model", {.doc = "the model to quantise"});
  spec.model_path = model.path("path", {.fallback = "builtin:models/qwen2-5m",
                                        .doc = "Hugging Face folder: config.json, safetensors, tokenizer.json"});
  spec.stream_weights =
      model.flag("stream", {.fallback = false,
                            .doc = "leave unquantised linears in their files and read them at each use: for models "
                                   "larger than the memory",
                            .identity = false});
  spec.calibration = read_calibration(root.section("calibration", {.doc = "text that methods calibrate on"}));
  spec.eval = read_eval(root.section("eval", {.doc = "text and rules of the quality figures"}));
  config::Reader speed = root.section("speed", {.doc = "decoding speed, batch 1, greedy"});
  spec.measure_speed = speed.flag("enabled", {.fallback = true, .doc = "measure it"});
  spec.speed.prompt_tokens =
      speed.integer("prompt_tokens", {.fallback = 64, .min = 1, .unit = "tokens", .doc = "prefill"});
  spec.speed.decode_tokens =
      speed.integer("decode_tokens", {.fallback = 64, .min = 1, .unit = "tokens", .doc = "timed"});
  spec.speed.repeats = speed.integer("repeats", {.fallback = 3, .min = 1, .doc = "timed runs after one warm-up run"});
  spec.seed = root.integer("seed", {.fallback = 0, .min = 0, .doc = "of everything random"});
  spec.device = root.text("device", {.fallback = "cpu", .doc = "cpu, cuda, cuda:N, or auto (a GPU if there is one)"});
  spec.method = root.variant<method::Method>("method.type", method::methods(), "aqlm");
  spec.backend =
      root.component<backend::Backend>("backend", backend::backends(), "what runs the quantised linears", "dense");
  config::Reader method = root.section("method", {.doc = "how the model is quantised"});
  spec.preset =
      method.text("preset", {.fallback = "", .doc = "name of the set of choices, for tables", .identity = false});
  config::Reader backend = root.section("backend");
  if (!root.describing()) {
    spec.method_type = method.text("type", {.fallback = "aqlm"});
    spec.backend_type = backend.text("type", {.fallback = "dense"});
  }
  return spec;
}

config::Object trial_schema() {
  return config::describe([](config::Reader& root) { read_trial(root); });
}

}  // namespace aqlm_exp::trial
