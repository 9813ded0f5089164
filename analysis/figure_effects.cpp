// What each swept key does, and the curves that quantisers and tuners left behind.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/figures.h"
#include "analysis/number_text.h"
#include "analysis/plot/curves.h"

namespace aqlm_exp::analysis {
namespace {

constexpr size_t kMaxCategories = 24;
constexpr size_t kMaxCurveFigures = 12;
constexpr size_t kMaxCurves = 8;
constexpr size_t kMaxCurvePoints = 400;  // more cannot be seen on 440 units
constexpr size_t kFullData = 60;

bool as_number(const std::string& text, double& value) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::isfinite(value);
}

std::string plain_id(const std::string& text) {
  std::string id;
  for (char c : text) id += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
  return id;
}

/// Everything but `param` (and the repeats): entries that share it lie on one line.
std::string rest_of(const Entry& entry, const std::string& param) {
  std::string rest = param == "method" ? "" : entry.method;
  for (const auto& [key, value] : entry.params) {
    if (key != param) rest += "\n" + key + "=" + value;
  }
  return rest;
}

plot::Figure effect(const Report& report, const Group& group, const std::string& param,
                    const std::vector<const Entry*>& entries, const std::string& y_name) {
  plot::CurvesSpec spec;
  spec.id = fmt::format("{}-effect-{}", group.id, plain_id(param));
  spec.title = "Effect of " + param;
  const MetricInfo& info = *report.find_metric(y_name);
  spec.x = {param, ""};
  spec.y = {y_name == results::metric::kKl ? "KL to the unquantised model" : "perplexity", info.unit};
  spec.log_y = true;
  spec.data.columns = {{param}, {"configuration"}, {plot::axis_title(spec.y), true}};
  std::vector<std::string> values;
  bool numeric = true;
  double least = 1, most = 0, number = 0;
  for (const Entry* entry : entries) {
    const std::string& value = entry->params.at(param);
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    numeric = numeric && as_number(value, number);
    if (numeric) {
      least = most == 0 && least == 1 ? number : std::min(least, number);
      most = std::max(most, number);
    }
  }
  if (!numeric) spec.categories = values;
  spec.log_x = numeric && least > 0 && most / least > 20;
  std::map<std::string, std::vector<const Entry*>> lines;
  for (const Entry* entry : entries) lines[rest_of(*entry, param)].push_back(entry);
  std::set<std::string> named;
  size_t rows = 0;
  for (auto& [rest, members] : lines) {
    // A categorical key has no order to join points by; each method keeps its own colour.
    std::vector<std::vector<const Entry*>> curves;
    if (numeric) {
      std::stable_sort(members.begin(), members.end(), [&](const Entry* a, const Entry* b) {
        double x = 0, y = 0;
        as_number(a->params.at(param), x);
        as_number(b->params.at(param), y);
        return x < y;
      });
      curves.push_back(members);
    } else {
      for (const Entry* entry : members) curves.push_back({entry});
    }
    for (const auto& members_of : curves) {
      const Entry& first = *members_of.front();
      plot::Curve curve{.name = method_title(first.method),
                        .series = series_of(report, first.method),
                        .points = {},
                        .in_legend = named.insert(first.method).second};
      for (const Entry* entry : members_of) {
        const Measured& y = *entry->find(y_name);
        const std::string& text = entry->params.at(param);
        double x = 0;
        if (!numeric || !as_number(text, x)) {
          x = static_cast<double>(std::find(values.begin(), values.end(), text) - values.begin());
        }
        curve.points.push_back(
            {.x = x, .y = y.value, .low = y.low, .high = y.high, .tip = entry_tip(report, *entry), .key = entry->key});
        if (rows++ < kFullData) spec.data.rows.push_back({text, entry->title, metric_text(y_name, y.value)});
      }
      spec.curves.push_back(std::move(curve));
    }
  }
  spec.caption = numeric ? "Lines join configurations that differ in nothing but this key."
                         : "One mark a configuration; up and down within a column is what the other keys do.";
  if (group.baseline && y_name == results::metric::kPerplexity) {
    spec.baseline = group.entries[*group.baseline].value(y_name);
    spec.baseline_text = "unquantised";
  }
  return plot::draw_curves(spec);
}

/// At most kMaxCurvePoints of a curve: evenly spaced, the last one kept.
std::vector<size_t> thinned(size_t size) {
  std::vector<size_t> picks;
  const size_t step = std::max<size_t>(1, (size + kMaxCurvePoints - 1) / kMaxCurvePoints);
  for (size_t i = 0; i < size; i += step) picks.push_back(i);
  if (size > 0 && picks.back() != size - 1) picks.push_back(size - 1);
  return picks;
}

}  // namespace

FigureSection effect_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "What each swept key does";
  const std::string y = quality_metric(group);
  if (report.find_metric(y) == nullptr) {
    section.missing = "These trials have no quality metric.";
    return section;
  }
  std::string still;
  for (const std::string& param : report.params) {
    std::vector<const Entry*> entries;
    std::set<std::string> values;
    for (const Entry& entry : group.entries) {
      const auto found = entry.params.find(param);
      if (entry.baseline || found == entry.params.end() || entry.find(y) == nullptr) continue;
      entries.push_back(&entry);
      values.insert(found->second);
    }
    double unused = 0;
    const bool numeric =
        std::all_of(values.begin(), values.end(), [&](const std::string& v) { return as_number(v, unused); });
    if (values.size() < 2 || (!numeric && values.size() > kMaxCategories)) {
      still += (still.empty() ? "" : ", ") + param;
      continue;
    }
    section.figures.push_back(effect(report, group, param, entries, y));
  }
  if (!still.empty()) section.missing = "Not drawn, as they take one value (or too many to read) here: " + still + ".";
  if (section.figures.empty() && still.empty()) section.missing = "Nothing was swept.";
  return section;
}

namespace {

std::string capitalised(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

}  // namespace

FigureSection curve_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "Loss curves of quantisers and tuners";
  struct Found {
    const results::Series* series;
    const Entry* entry;
  };
  std::vector<std::pair<std::string, std::vector<Found>>> all;  // by series name, first-seen order
  for (const Entry& entry : group.entries) {
    for (const results::Series& series : report.data->rows[entry.trials.front()].record->series) {
      auto at = std::find_if(all.begin(), all.end(), [&](const auto& item) { return item.first == series.name; });
      if (at == all.end()) at = all.insert(all.end(), {series.name, {}});
      at->second.push_back({&series, &entry});
    }
  }
  for (auto& [name, found] : all) {
    if (section.figures.size() == kMaxCurveFigures) break;
    plot::CurvesSpec spec;
    spec.id = fmt::format("{}-curve-{}", group.id, plain_id(name));
    spec.title = name;
    std::replace(spec.title.begin(), spec.title.end(), '_', ' ');
    spec.title = capitalised(spec.title);
    spec.x = {"step", ""};
    spec.y = {spec.title, found.front().series->unit};
    spec.markers = false;
    spec.data.columns = {{"configuration"}, {"steps", true}, {"first", true}, {"last", true}, {"lowest", true}};
    double least = std::numeric_limits<double>::infinity(), most = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      const results::Series& series = *found[i].series;
      if (series.value.empty()) continue;
      const double lowest = *std::min_element(series.value.begin(), series.value.end());
      spec.data.rows.push_back({found[i].entry->title, std::to_string(series.step.back()),
                                significant(series.value.front()), significant(series.value.back()),
                                significant(lowest)});
      if (spec.curves.size() == kMaxCurves) continue;
      plot::Curve curve{.name = found[i].entry->title, .series = spec.curves.size(), .points = {}};
      for (size_t at : thinned(series.value.size())) {
        curve.points.push_back(
            {.x = static_cast<double>(series.step[at]), .y = series.value[at], .tip = {}, .key = {}});
        if (series.value[at] > 0) least = std::min(least, series.value[at]);
        most = std::max(most, series.value[at]);
      }
      spec.curves.push_back(std::move(curve));
    }
    if (spec.curves.empty()) continue;
    spec.log_y = most > 10 * least;
    spec.caption = capitalised(found.front().series->description);
    if (!spec.caption.empty() && spec.caption.back() != '.') spec.caption += ".";
    if (found.size() > kMaxCurves) {
      spec.caption += fmt::format(" The first {} of {} configurations are drawn, all are in the data table.",
                                  kMaxCurves, found.size());
    }
    section.figures.push_back(plot::draw_curves(spec));
  }
  if (all.size() > section.figures.size()) {
    section.missing =
        fmt::format("{} further curves are in the result files (series/).", all.size() - section.figures.size());
  }
  if (all.empty()) section.missing = "These results hold no curves: no method here recorded its loss step by step.";
  return section;
}

}  // namespace aqlm_exp::analysis
