// One resolved configuration as values: what a trial does. The reader below is also the schema of every trial.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "framework/backend/backend.h"
#include "framework/config/reader.h"
#include "framework/eval/convention.h"
#include "framework/generate/greedy.h"
#include "framework/method/method.h"

namespace aqlm_exp::trial {

struct CalibrationSpec {
  std::filesystem::path path;
  int64_t num_samples = 128;
  int64_t seq_len = 1024;
  std::string sampling = "first";  ///< "first": the first windows of the text; "random": seeded random crops
  /// "quantised": a block is calibrated on what the quantised blocks before it give; "original": on what the
  /// unquantised model gives it
  std::string activations = "quantised";
  bool all_experts = false;       ///< experts see every token, not only those routed to them
  int64_t min_expert_tokens = 1;  ///< an expert that saw fewer is rounded to nearest
};

struct TaskSpec {
  std::filesystem::path path;
  std::string name;  ///< empty: the file's stem
  int64_t limit = 0;
};

struct EvalSpec {
  std::filesystem::path path;
  eval::Convention convention;
  std::vector<eval::Convention> also;  ///< further ones, for the same text
  bool kl = true;                      ///< compare with the unquantised model
  int64_t reference_cache_mib = 1024;  ///< larger reference logits are computed again instead of kept on disk
  bool store_tokens = true;            ///< per-token losses and KL go into the result
  bool noise_floor = true;             ///< method none: KL of bfloat16 linears
  std::string attribution = "none";    ///< none, linears, blocks
  int64_t attribution_windows = 4;
  std::vector<TaskSpec> tasks;
};

struct TrialSpec {
  std::filesystem::path model_path;
  bool stream_weights = false;  ///< unquantised linears are read from their files at each use
  CalibrationSpec calibration;
  EvalSpec eval;
  generate::SpeedOptions speed;
  bool measure_speed = true;
  std::string method_type;
  std::string preset;
  std::unique_ptr<method::Method> method;
  std::string backend_type;
  std::unique_ptr<backend::Backend> backend;
  int64_t seed = 0;
  std::string device;
};

/// Reads every key of a trial from the root of a resolved configuration.
TrialSpec read_trial(config::Reader& root);

/// The schema of a trial: what `aqlm-exp-trial describe` prints and the driver embeds.
config::Object trial_schema();

}  // namespace aqlm_exp::trial
