// What one trial leaves behind, as plain structs: the contents of results/<id16>.h5 (docs/results-format.md).
//
// Everything here is deterministic (same configuration, same seed, same numbers) except `attempt`, `created_utc`,
// `provenance`, `timing` and the values marked `deterministic = false`, such as a measured speed.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace aqlm_exp::results {

inline constexpr int32_t kFormatVersion = 1;
inline constexpr int32_t kFormatMinor = 0;
inline constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

/// Which way is better.
enum class Direction { kNone, kMin, kMax };

/// Names under which every worker files what tables need.
namespace metric {
inline constexpr const char* kPerplexity = "ppl";
inline constexpr const char* kKl = "kl";                                 // nats/token
inline constexpr const char* kTop1Agreement = "top1_agreement";          // fraction
inline constexpr const char* kBitsPerWeight = "bits_per_weight";         // audited, over the quantised linears
inline constexpr const char* kDecodeTokensPerS = "decode_tokens_per_s";  // not deterministic
inline constexpr const char* kModelMib = "model_mib";
inline constexpr const char* kQuantiseS = "quantise_s";  // not deterministic
}  // namespace metric
namespace label {
inline constexpr const char* kMethod = "method";    // "aqlm"; "none" is the unquantised model
inline constexpr const char* kSetting = "setting";  // "2x7 g8", "3 bit g128"
inline constexpr const char* kPreset = "preset";    // "quick", "reference", ...
inline constexpr const char* kModel = "model";      // "qwen2-5m"
inline constexpr const char* kConvention =
    "convention";  // full name of the perplexity convention; numbers of two never rank together
inline constexpr const char* kHardware = "hardware";  // speeds of two kinds are never compared
}  // namespace label

struct Metric {
  std::string name = {};  ///< [a-z0-9_]+
  double value = kAbsent;
  std::string unit = {};
  std::string description = {};
  Direction direction = Direction::kNone;
  int64_t n = 1;  ///< observations behind the value
  double std = kAbsent;
  double ci_low = kAbsent, ci_high = kAbsent;
  bool deterministic = true;
};

/// A curve. `time_s` (seconds since the trial's start; may be empty) is never part of the deterministic data.
struct Series {
  std::string name = {};
  std::string unit = {};
  std::string description = {};
  std::vector<int64_t> step = {};
  std::vector<double> value = {};
  std::vector<double> time_s = {};
  bool deterministic = true;
};

/// One number a layer, or a row of numbers a layer.
struct LayerArray {
  std::string name = {};
  std::string unit = {};
  std::string description = {};
  std::vector<double> values = {};  ///< [num_layers] or [num_rows, num_columns], row-major
  bool deterministic = true;
};

struct Layers {
  std::vector<std::string> names;    ///< [num_layers]: one a quantised linear, "0.q_proj"
  std::vector<LayerArray> metrics;   ///< each [num_layers]
  std::vector<std::string> rows;     ///< [num_rows]: one a block; empty: the matrix has a row for each of `names`
  std::vector<std::string> columns;  ///< [num_columns]: "q_proj", ...
  std::vector<LayerArray> matrix;    ///< each [num_rows, num_columns], for heat maps; NaN where a block lacks a column
};

/// Raw repeats of a measurement, so that statistics can be redone.
struct Samples {
  std::string name = {};
  std::string unit = {};
  std::string description = {};
  std::vector<double> values = {};
  bool deterministic = true;
};

using Value = std::variant<std::string, int64_t, double>;
/// Keys are [a-z0-9_]+ parts joined by "/" ("model/files").
using KeyValues = std::vector<std::pair<std::string, Value>>;

/// Where a key of the configuration was set.
struct Origin {
  std::string key;
  std::string file;
  int64_t line = 0;
};

struct TrialRecord {
  std::string id;  ///< 64 hexadecimal digits
  std::string status = "completed";
  std::string name;  ///< for people
  int64_t attempt = 1;
  std::string created_utc;  ///< empty: the time of publishing
  std::string writer;       ///< program and version, e.g. "aqlm-exp 0.1.0"
  std::string build_id;
  double duration_s = 0;               ///< monotonic, whole trial; also stored as timing/total_s
  std::string config_yaml;             ///< composed and resolved
  std::string config_identity;         ///< canonical JSON that the id is the hash of
  std::vector<std::string> overrides;  ///< the swept keys of this trial, "quant.nbits=3"
  std::vector<Origin> origin;
  std::vector<std::pair<std::string, std::string>> labels;  ///< short texts for tables, see label::
  std::vector<Metric> metrics;
  std::vector<Series> series;
  Layers layers;
  std::vector<Samples> samples;
  KeyValues provenance;
  KeyValues timing;

  const Metric* find_metric(std::string_view metric_name) const;
  /// Empty when there is none.
  std::string_view find_label(std::string_view label_name) const;
};

/// First 16 digits of an id: the stem of its files.
std::string id16(std::string_view id);

}  // namespace aqlm_exp::results
