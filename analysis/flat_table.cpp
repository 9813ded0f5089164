#include "analysis/flat_table.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/report_table.h"

namespace aqlm_exp::analysis {
namespace {

const char* const kLabels[] = {"method", "setting", "preset", "model", "convention", "hardware", "backend"};

/// Where a trial stands in the report.
struct Place {
  const Group* group = nullptr;
  const Entry* entry = nullptr;
  const Budget* budget = nullptr;
  Verdict verdict = Verdict::kUnknown;
  std::optional<PairedDifference> difference;
};

std::vector<Place> places(const Report& report) {
  std::vector<Place> all(report.data->rows.size());
  for (const Group& group : report.groups) {
    std::vector<Place> entries(group.entries.size());
    for (size_t i = 0; i < group.entries.size(); ++i)
      entries[i] = {.group = &group,
                    .entry = &group.entries[i],
                    .budget = nullptr,
                    .verdict = Verdict::kUnknown,
                    .difference = {}};
    for (const Budget& budget : group.budgets) {
      for (const Standing& standing : budget.standings) {
        entries[standing.entry].budget = &budget;
        entries[standing.entry].verdict = standing.verdict;
        entries[standing.entry].difference = standing.difference;
      }
    }
    for (const Place& place : entries) {
      for (size_t row : place.entry->trials) all[row] = place;
    }
  }
  return all;
}

const char* standing_word(const Place& place) {
  if (place.entry == nullptr) return "";
  if (place.entry->baseline) return "reference";
  switch (place.verdict) {
    case Verdict::kBest:
      return "best";
    case Verdict::kTie:
      return "tie";
    case Verdict::kWorse:
      return "worse";
    case Verdict::kUnknown:
      break;
  }
  return "unknown";
}

/// A column of texts becomes one of numbers when every text is one.
void settle(FlatTable& table, size_t column) {
  std::vector<double> numbers;
  for (const auto& row : table.rows) {
    const std::string& text = row[column].text;
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    const bool number = !text.empty() && *end == '\0' && text.find_first_not_of("+-.0123456789eE") == std::string::npos;
    if (!text.empty() && !number) return;
    numbers.push_back(text.empty() ? results::kAbsent : value);
  }
  table.columns[column].number = true;
  for (size_t i = 0; i < table.rows.size(); ++i) table.rows[i][column] = {.text = {}, .number = numbers[i]};
}

std::string override_value(const TrialRow& row, const std::string& key) {
  for (const std::string& text : row.overrides) {
    const size_t equals = text.find('=');
    const size_t start = text.find_first_not_of('+');
    if (equals != std::string::npos && text.substr(start, equals - start) == key) return text.substr(equals + 1);
  }
  return {};
}

}  // namespace

int FlatTable::find(const std::string& name) const {
  for (size_t i = 0; i < columns.size(); ++i) {
    if (columns[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

FlatTable trial_table(const Report& report) {
  FlatTable table;
  const Dataset& data = *report.data;
  const std::vector<Place> where = places(report);
  std::set<std::string> with_interval;
  for (const Group& group : report.groups) {
    for (const Entry& entry : group.entries) {
      for (const auto& [name, measured] : entry.metrics) {
        if (std::isfinite(measured.low) || std::isfinite(measured.high)) with_interval.insert(name);
      }
    }
  }
  const auto text = [&](const char* name, const char* description) {
    table.columns.push_back({.name = name, .unit = {}, .description = description, .number = false});
  };
  const auto number = [&](const std::string& name, const std::string& unit, const std::string& description) {
    table.columns.push_back({.name = name, .unit = unit, .description = description, .number = true});
  };
  text("trial_id", "SHA-256 of the trial's identity");
  text("source", "output folder");
  text("name", "trial");
  text("status", "completed, failed, timed_out, oom, cancelled, lost, damaged, planned");
  text("failure_class", "kind of failure");
  text("failure_message", "reason of a failure");
  number("repeat", "", "repeat index");
  text("group", "trials of one group may be ranked together");
  text("configuration", "method and setting; equal for repeats");
  text("budget", "bit budget it is ranked in");
  text("standing", "best, tie, worse, unknown, reference");
  number("difference", "nats/token", "paired difference of the configuration to the best of its budget");
  number("difference_low", "nats/token", "lower end of its interval");
  number("difference_high", "nats/token", "upper end of its interval");
  for (const char* name : kLabels) text(name, "label given by the worker");
  text("build", "build that made the result");
  const size_t params_from = table.columns.size();
  std::vector<std::string> params;
  for (const std::string& key : report.params) {
    if (key == "method" || key == "preset") continue;  // labels already
    params.push_back(key);
    table.columns.push_back({.name = key, .unit = {}, .description = "swept key", .number = false});
  }
  number("nominal_bits", "bits", "bits of the codes alone");
  for (const MetricInfo& info : report.metrics) {
    const std::string unit = info.name == "top1_agreement" ? "fraction" : info.unit;
    number(info.name, unit, info.description);
    if (with_interval.count(info.name) != 0) {
      number(info.name + "_low", unit, "lower end of its interval");
      number(info.name + "_high", unit, "upper end of its interval");
    }
  }
  number("duration_s", "s", "of the attempt that ended the trial");
  // One trial's own numbers, not the medians of its configuration.
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const TrialRow& row = data.rows[i];
    const Place& place = where[i];
    std::vector<FlatCell> cells;
    const auto add_text = [&](std::string value) {
      cells.push_back({.text = std::move(value), .number = results::kAbsent});
    };
    const auto add_number = [&](double value) { cells.push_back({.text = {}, .number = value}); };
    add_text(row.id);
    add_text(row.source);
    add_text(row.name);
    add_text(row.status);
    add_text(row.failure_class);
    add_text(row.message);
    add_number(static_cast<double>(row.repeat));
    add_text(place.group != nullptr ? place.group->id : "");
    add_text(place.entry != nullptr ? place.entry->title : "");
    add_text(place.budget != nullptr ? place.budget->title : "");
    add_text(standing_word(place));
    add_number(place.difference ? place.difference->mean : results::kAbsent);
    add_number(place.difference ? place.difference->low : results::kAbsent);
    add_number(place.difference ? place.difference->high : results::kAbsent);
    for (const char* name : kLabels) add_text(row.completed() ? std::string(row.record->find_label(name)) : "");
    add_text(row.completed() ? row.record->build_id : "");
    for (const std::string& key : params) add_text(override_value(row, key));
    add_number(place.entry != nullptr ? place.entry->nominal_bits : results::kAbsent);
    for (const MetricInfo& info : report.metrics) {
      const results::Metric* stored = row.completed() ? row.record->find_metric(info.name) : nullptr;
      add_number(stored != nullptr ? stored->value : results::kAbsent);
      if (with_interval.count(info.name) == 0) continue;
      const Measured measured = stored != nullptr ? measure_trial(*row.record, *stored) : Measured{};
      add_number(measured.low);
      add_number(measured.high);
    }
    add_number(row.duration_s > 0 ? row.duration_s : results::kAbsent);
    table.rows.push_back(std::move(cells));
  }
  for (size_t i = 0; i < params.size(); ++i) settle(table, params_from + i);
  return table;
}

FlatTable layer_table(const Report& report) {
  FlatTable table;
  const Dataset& data = *report.data;
  struct Info {
    std::string name, unit, description;
  };
  std::vector<Info> metrics;
  for (const TrialRow& row : data.rows) {
    if (!row.completed()) continue;
    for (const results::LayerArray& array : row.record->layers.metrics) {
      const bool known =
          std::any_of(metrics.begin(), metrics.end(), [&](const Info& info) { return info.name == array.name; });
      if (!known) metrics.push_back({array.name, array.unit, array.description});
    }
  }
  for (const char* name : {"trial_id", "model", "method", "setting", "preset", "layer"}) {
    table.columns.push_back({.name = name, .unit = {}, .description = {}, .number = false});
  }
  for (const Info& info : metrics) {
    table.columns.push_back({.name = info.name, .unit = info.unit, .description = info.description, .number = true});
  }
  for (const TrialRow& row : data.rows) {
    if (!row.completed()) continue;
    const results::Layers& layers = row.record->layers;
    std::vector<const results::LayerArray*> arrays;
    for (const Info& info : metrics) {
      const auto found = std::find_if(layers.metrics.begin(), layers.metrics.end(),
                                      [&](const auto& a) { return a.name == info.name; });
      arrays.push_back(found == layers.metrics.end() ? nullptr : &*found);
    }
    for (size_t i = 0; i < layers.names.size(); ++i) {
      std::vector<FlatCell> cells;
      const auto add_text = [&](std::string value) {
        cells.push_back({.text = std::move(value), .number = results::kAbsent});
      };
      add_text(row.id);
      for (const char* name : {"model", "method", "setting", "preset"})
        add_text(std::string(row.record->find_label(name)));
      add_text(layers.names[i]);
      for (const results::LayerArray* array : arrays) {
        cells.push_back(
            {.text = {}, .number = array != nullptr && i < array->values.size() ? array->values[i] : results::kAbsent});
      }
      table.rows.push_back(std::move(cells));
    }
  }
  return table;
}

}  // namespace aqlm_exp::analysis
