// A record with every kind of contents, for the tests of this room and of those that read results.
#pragma once

#include <cmath>
#include <string>

#include "framework/base/sha256.h"
#include "framework/results/record.h"

namespace aqlm_exp::results {

inline TrialRecord sample_record(const std::string& seed = "a") {
  TrialRecord record;
  record.id = sha256_hex(seed);
  record.name = "method=aqlm, größe=2x7 «" + seed + "»";
  record.created_utc = "2026-11-24T12:00:00Z";
  record.writer = "aqlm-exp test";
  record.build_id = "build-1";
  record.duration_s = 1.5;
  record.config_yaml = "quant:\n  nbits: 3\n";
  record.config_identity = "{\"seed\":\"" + seed + "\"}";
  record.overrides = {"quant.nbits=3", "method=aqlm"};
  record.origin = {{"quant.nbits", "configs/a.yaml", 12}, {"method.type", "configs/method/äöü.yaml", 1}};
  record.labels = {{"method", "aqlm"}, {"setting", "2x7 g8"}, {"preset", "quick"}, {"convention", "sliding"}};
  record.metrics = {
      {.name = "ppl",
       .value = 15.5,
       .unit = "",
       .description = "perplexity",
       .direction = Direction::kMin,
       .n = 7,
       .std = 0.25,
       .ci_low = 15.0,
       .ci_high = 16.0},
      {.name = "bits_per_weight", .value = 2.09, .unit = "bit", .description = "audited", .direction = Direction::kMin},
      {.name = "decode_tokens_per_s",
       .value = 101.0,
       .unit = "1/s",
       .description = "greedy",
       .direction = Direction::kMax,
       .n = 3,
       .std = 2.0,
       .deterministic = false},
      {.name = "not_a_number", .value = std::nan(""), .unit = "", .description = "kept as NaN"}};
  record.series = {{.name = "loss",
                    .unit = "nat",
                    .description = "per step",
                    .step = {0, 10, 20},
                    .value = {3.0, 2.0, 1.0},
                    .time_s = {0.1, 0.2, 0.3}}};
  record.layers.names = {"0.q_proj", "0.k_proj", "1.q_proj"};
  record.layers.metrics = {{.name = "rel_err", .unit = "", .description = "relative", .values = {0.1, 0.2, 0.3}}};
  record.layers.rows = {"block 0", "block 1"};
  record.layers.columns = {"q_proj", "k_proj", "v_proj"};
  record.layers.matrix = {{.name = "mse", .unit = "", .description = "squared", .values = {1, 2, 3, 4, 5, 6}}};
  record.samples = {{.name = "window_loss", .unit = "nat", .description = "per window", .values = {1.0, 2.0}}};
  record.provenance = {{"git/commit", std::string("abc")}, {"cores", int64_t{2}}, {"clock_ghz", 2.5}};
  record.timing = {{"quantise_s", 0.7}, {"start_utc", std::string("2026-11-24T11:59:58Z")}};
  return record;
}

}  // namespace aqlm_exp::results
