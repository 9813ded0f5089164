#include "framework/trial/layer_tables.h"

#include <algorithm>
#include <map>
#include <set>

namespace aqlm_exp::trial {
namespace {

struct MetricInfo {
  const char* unit;
  const char* description;
  bool deterministic;
};

MetricInfo info_of(const std::string& name) {
  static const std::map<std::string, MetricInfo> known = {
      {"rel_output_error", {"", "tr((W'-W)H(W'-W)^T) / tr(WHW^T)", true}},
      {"rel_weight_error", {"", "|W'-W|^2 / |W|^2", true}},
      {"bits_per_weight", {"bits", "audited", true}},
      {"calibration_tokens", {"tokens", "that the linear was calibrated on, in blocks with experts", true}},
      {"rounded_to_nearest", {"", "1: an expert below calibration.min_expert_tokens", true}},
      {"swap_kl", {"nats/token", "KL of this part alone, in the unquantised model", true}},
      {"seconds", {"s", "time to quantise", false}},
  };
  const auto it = known.find(name);
  return it == known.end() ? MetricInfo{"", "reported by the method", true} : it->second;
}

}  // namespace

results::Layers layer_tables(const std::vector<method::LayerReport>& reports) {
  results::Layers layers;
  std::set<std::string> metrics;
  int64_t num_blocks = 0;
  for (const method::LayerReport& report : reports) {
    layers.names.push_back(report.name);
    if (std::find(layers.columns.begin(), layers.columns.end(), report.role) == layers.columns.end()) {
      layers.columns.push_back(report.role);
    }
    for (const auto& [name, value] : report.metrics) metrics.insert(name);
    num_blocks = std::max(num_blocks, report.block + 1);
  }
  for (int64_t block = 0; block < num_blocks; ++block) layers.rows.push_back(std::to_string(block));
  for (const std::string& name : metrics) {
    const MetricInfo info = info_of(name);
    results::LayerArray row{.name = name,
                            .unit = info.unit,
                            .description = info.description,
                            .values = {},
                            .deterministic = info.deterministic};
    results::LayerArray matrix = row;
    matrix.values.assign(static_cast<size_t>(num_blocks) * layers.columns.size(), results::kAbsent);
    for (const method::LayerReport& report : reports) {
      const auto found = report.metrics.find(name);
      const double value = found == report.metrics.end() ? results::kAbsent : found->second;
      row.values.push_back(value);
      const auto column = static_cast<size_t>(std::find(layers.columns.begin(), layers.columns.end(), report.role) -
                                              layers.columns.begin());
      matrix.values[static_cast<size_t>(report.block) * layers.columns.size() + column] = value;
    }
    layers.metrics.push_back(std::move(row));
    layers.matrix.push_back(std::move(matrix));
  }
  return layers;
}

}  // namespace aqlm_exp::trial
