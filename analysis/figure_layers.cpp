// Error per layer and projection, and its ratio to the best of the budget.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "analysis/figures.h"
#include "analysis/plot/heatmap.h"

namespace aqlm_exp::analysis {
namespace {

constexpr size_t kMaxMaps = 12;

const results::LayerArray* find_matrix(const results::TrialRecord& record, const std::string& name) {
  for (const results::LayerArray& array : record.layers.matrix) {
    if (array.name == name) return &array;
  }
  return nullptr;
}

const results::TrialRecord& record_of(const Report& report, const Entry& entry) {
  return *report.data->rows[entry.trials.front()].record;
}

/// The error that most entries report.
std::string error_metric(const Report& report, const Group& group) {
  std::string best;
  size_t best_count = 0;
  for (const char* name : {"rel_output_error", "rel_weight_error", "rel_err", "mse"}) {
    const auto count =
        static_cast<size_t>(std::count_if(group.entries.begin(), group.entries.end(), [&](const Entry& e) {
          return find_matrix(record_of(report, e), name) != nullptr;
        }));
    if (count > best_count) {
      best = name;
      best_count = count;
    }
  }
  return best;
}

/// Of each budget the best of each method, so that a page of maps covers them all; at most kMaxMaps.
std::vector<std::pair<const Budget*, size_t>> chosen_entries(const Report& report, const Group& group,
                                                             const std::string& name) {
  std::vector<std::pair<const Budget*, size_t>> chosen;
  for (size_t depth = 0; depth < group.entries.size();
       ++depth) {  // every budget's best first, then the second method, ...
    bool any = false;
    for (const Budget& budget : group.budgets) {
      std::set<std::string> seen;
      size_t position = 0;
      for (const Standing& standing : budget.standings) {
        const Entry& entry = group.entries[standing.entry];
        if (find_matrix(record_of(report, entry), name) == nullptr || !seen.insert(entry.method).second) continue;
        if (position++ != depth) continue;
        any = true;
        if (chosen.size() < kMaxMaps) chosen.emplace_back(&budget, standing.entry);
        break;
      }
    }
    if (!any || chosen.size() >= kMaxMaps) break;
  }
  std::stable_sort(chosen.begin(), chosen.end(),
                   [](const auto& a, const auto& b) { return a.first->bound < b.first->bound; });
  return chosen;
}

plot::DataTable matrix_table(const std::vector<std::string>& rows, const std::vector<std::string>& columns,
                             const std::vector<double>& values) {
  plot::DataTable table;
  table.columns.push_back({"block"});
  for (const std::string& column : columns) table.columns.push_back({column, true});
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<std::string> cells = {rows[i]};
    for (size_t j = 0; j < columns.size(); ++j) {
      const double value = values[i * columns.size() + j];
      cells.push_back(std::isnan(value) ? "–" : fmt::format("{:.4g}", value));
    }
    table.rows.push_back(std::move(cells));
  }
  return table;
}

/// Block names as the matrix has them; a matrix without rows of its own has one a layer.
const std::vector<std::string>& row_names(const results::Layers& layers) {
  return layers.rows.empty() ? layers.names : layers.rows;
}

}  // namespace

FigureSection layer_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "Error per layer";
  section.width = FigureSection::Width::kQuarter;
  const std::string name = error_metric(report, group);
  if (name.empty()) {
    section.missing = "These results hold no values per layer.";
    return section;
  }
  const auto chosen = chosen_entries(report, group, name);
  std::map<const Budget*, std::pair<double, double>> ranges;
  std::string description;
  for (const auto& [budget, index] : chosen) {
    const results::LayerArray& matrix = *find_matrix(record_of(report, group.entries[index]), name);
    description = matrix.description;
    auto& [low, high] = ranges.try_emplace(budget, std::numeric_limits<double>::infinity(), 0.0).first->second;
    for (double value : matrix.values) {
      if (!std::isfinite(value) || value <= 0) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  for (auto& [budget, range] : ranges) {
    if (range.first < range.second) continue;
    range = range.second > 0 ? std::pair(range.second / 2, range.second * 2) : std::pair(0.5, 2.0);
  }
  section.intro = fmt::format(
      "{} ({}): one map for the best of each method at each bit budget; the maps of one budget share their colours "
      "(logarithmic). Ratio maps: blue where the method is better than the best of its budget in that layer, orange "
      "where it is worse. Every layer of every trial is in layers.csv.",
      name, description);
  std::vector<plot::Figure> ratios;
  for (const auto& [budget, index] : chosen) {
    const Entry& entry = group.entries[index];
    const results::Layers& layers = record_of(report, entry).layers;
    const std::vector<double>& values = find_matrix(record_of(report, entry), name)->values;
    plot::HeatMapSpec spec;
    spec.id = fmt::format("{}-layers-{}", group.id, entry.key);
    spec.title = entry.title;
    spec.rows = row_names(layers);
    spec.columns = layers.columns;
    spec.values = values;
    spec.low = ranges[budget].first;
    spec.high = ranges[budget].second;
    spec.log = true;
    spec.value = {name, ""};
    std::replace(spec.value.title.begin(), spec.value.title.end(), '_', ' ');
    spec.data = matrix_table(spec.rows, spec.columns, values);
    double total = 0, worst = 0;
    std::string worst_place;
    size_t count = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) continue;
      total += values[i];
      ++count;
      if (values[i] >= worst) {
        worst = values[i];
        worst_place = spec.rows[i / spec.columns.size()] + " " + spec.columns[i % spec.columns.size()];
      }
    }
    spec.caption = fmt::format("{}. Mean {:.3g}; largest {:.3g} at block {}.", budget->title,
                               total / static_cast<double>(std::max<size_t>(count, 1)), worst, worst_place);
    section.figures.push_back(plot::draw_heatmap(spec));
    const Entry& best = group.entries[budget->standings.front().entry];
    const results::LayerArray* reference = find_matrix(record_of(report, best), name);
    if (&best == &entry || reference == nullptr || reference->values.size() != values.size()) continue;
    std::vector<double> ratio(values.size(), results::kAbsent);
    size_t better = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] > 0 && reference->values[i] > 0) ratio[i] = values[i] / reference->values[i];
      better += ratio[i] < 1 ? 1 : 0;
    }
    spec.id = fmt::format("{}-ratio-{}", group.id, entry.key);
    spec.title = fmt::format("{} over {}", entry.title, best.title);
    spec.caption = fmt::format("Better than the best of {} in {} of {} layers.", budget->title, better, count);
    spec.values = ratio;
    spec.diverging = true;
    spec.low = 0.25;
    spec.high = 4;
    spec.value = {"error ratio", ""};
    spec.data = matrix_table(spec.rows, spec.columns, ratio);
    ratios.push_back(plot::draw_heatmap(spec));
  }
  for (plot::Figure& figure : ratios) section.figures.push_back(std::move(figure));
  return section;
}

}  // namespace aqlm_exp::analysis
