// A small sweep as a dataset: two methods at three budgets, per-window losses, layers, a failure.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "analysis/dataset.h"
#include "framework/base/rng.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::analysis {

struct SampleTrial {
  std::string method = "aqlm";
  std::string setting = "2x7 g8";
  double bits = 2.09;
  double kl = 0.5;
  double noise = 0.02;  ///< of each window's own, on top of what all windows share
  std::string build = "build-1";
  std::string hardware = "cpu-a";
  std::string convention = "gptq-1024";
  std::string name = {};
  int64_t seed = 0;
  int64_t repeat = 0;
  size_t num_windows = 12;
};

inline TrialRow sample_trial(const SampleTrial& t) {
  TrialRow row;
  const std::string key = t.method + t.setting + t.build + t.hardware + t.convention + t.name;
  row.id = sha256_hex(key + std::to_string(t.seed) + "/" + std::to_string(t.repeat));
  row.name = t.name.empty() ? "method=" + t.method + " setting=" + t.setting : t.name;
  row.source = "out";
  row.repeat = t.repeat;
  row.overrides = {"method=" + t.method, "quant.setting=" + t.setting};
  row.command = "aqlm-exp run a.yaml method=" + t.method;
  row.status = "completed";
  row.attempt = 1;
  row.duration_s = 2;
  results::TrialRecord record;
  record.id = row.id;
  record.name = row.name;
  record.build_id = t.build;
  record.config_identity = "{\"config\":{\"key\":\"" + sha256_hex(key) +
                           "\",\"quant\":{\"nbits\":" + std::to_string(static_cast<int>(t.bits)) +
                           "},\"seed\":" + std::to_string(t.seed) + "},\"repeat\":" + std::to_string(t.repeat) + "}";
  record.labels = {{"method", t.method},         {"setting", t.setting},   {"model", "m"},
                   {"convention", t.convention}, {"hardware", t.hardware}, {"backend", "dense"}};
  Rng shared(7), own(std::hash<std::string>{}(key) % 1000 + static_cast<uint64_t>(t.seed + t.repeat));
  std::vector<double> kl, loss;
  for (size_t i = 0; i < t.num_windows; ++i) {
    const double hard = shared.normal() * 0.2;  // what makes a window hard is the same for every model
    kl.push_back(std::max(t.kl * (1 + 0.2 * hard) + own.normal() * t.noise, 1e-4));
    loss.push_back(2.6 + hard + t.kl + own.normal() * t.noise);
  }
  double kl_mean = 0, loss_mean = 0;
  for (size_t i = 0; i < t.num_windows; ++i) {
    kl_mean += kl[i] / static_cast<double>(t.num_windows);
    loss_mean += loss[i] / static_cast<double>(t.num_windows);
  }
  const bool baseline = t.method == "none";
  using results::Direction;
  record.metrics = {{.name = "ppl",
                     .value = std::exp(baseline ? 2.6 : loss_mean),
                     .description = "perplexity",
                     .direction = Direction::kMin},
                    {.name = "bits_per_weight",
                     .value = t.bits,
                     .unit = "bits",
                     .description = "audited",
                     .direction = Direction::kMin},
                    {.name = "decode_tokens_per_s",
                     .value = 100 + 10 * t.bits,
                     .unit = "tokens/s",
                     .direction = Direction::kMax,
                     .deterministic = false},
                    {.name = "model_mib", .value = 2.5 * t.bits, .unit = "MiB", .direction = Direction::kMin}};
  if (!baseline) {
    record.metrics.push_back({.name = "kl", .value = kl_mean, .unit = "nats/token", .direction = Direction::kMin});
    record.metrics.push_back(
        {.name = "quantise_s", .value = 3, .unit = "s", .direction = Direction::kMin, .deterministic = false});
    record.samples = {{.name = "window_kl", .unit = "nats/token", .values = kl},
                      {.name = "window_loss", .unit = "nats/token", .values = loss}};
    record.layers.names = {"0.q_proj", "0.k_proj", "1.q_proj", "1.k_proj"};
    record.layers.rows = {"0", "1"};
    record.layers.columns = {"q_proj", "k_proj"};
    record.layers.metrics = {
        {.name = "rel_weight_error", .description = "relative", .values = {t.kl, t.kl / 2, t.kl / 3, t.kl / 4}}};
    record.layers.matrix = {
        {.name = "rel_weight_error", .description = "relative", .values = {t.kl, t.kl / 2, t.kl / 3, t.kl / 4}}};
  }
  record.provenance = {{"host/cpu", t.hardware},
                       {"metrics/ppl", std::string("ppl.v1: windows")},
                       {"eval/ids_sha256", std::string("text-1")}};
  row.record = std::move(record);
  return row;
}

inline TrialRow sample_failure(const std::string& reason = "not positive definite") {
  TrialRow row;
  row.id = sha256_hex("failure " + reason);
  row.name = "method=gptq broken";
  row.source = "out";
  row.overrides = {"method=gptq", "quant.setting=broken"};
  row.status = "failed";
  row.failure_class = "numerical";
  row.message = reason;
  row.exit_code = 24;
  row.log_tail = {"first line", "last line"};
  return row;
}

inline Dataset sample_dataset(const std::vector<SampleTrial>& trials) {
  Dataset data;
  data.sources = {{.path = "out",
                   .config_file = "a.yaml",
                   .created_utc = "2026-11-25T00:00:00Z",
                   .command = "aqlm-exp run a.yaml",
                   .build_id = "build-1",
                   .files = {{"a.yaml", "00"}},
                   .num_trials = trials.size()}};
  data.writer = "aqlm-exp test";
  for (const SampleTrial& trial : trials) data.rows.push_back(sample_trial(trial));
  return data;
}

/// The unquantised model, and a clear winner at two bits, a tie at three, another winner at four.
inline Dataset sample_sweep() {
  return sample_dataset({{.method = "none", .setting = "unquantised", .bits = 16, .kl = 0},
                         {.method = "aqlm", .setting = "2x7 g8", .bits = 2.09, .kl = 0.5},
                         {.method = "gptq", .setting = "2 bits", .bits = 2.14, .kl = 1.3},
                         {.method = "rtn", .setting = "2 bits", .bits = 2.14, .kl = 2.2},
                         {.method = "aqlm", .setting = "3x7 g8", .bits = 3.11, .kl = 0.176},
                         {.method = "gptq", .setting = "3 bits", .bits = 3.15, .kl = 0.174},
                         {.method = "aqlm", .setting = "4x7 g8", .bits = 4.14, .kl = 0.1, .noise = 0.003},
                         {.method = "gptq", .setting = "4 bits", .bits = 4.16, .kl = 0.03, .noise = 0.003}});
}

}  // namespace aqlm_exp::analysis
