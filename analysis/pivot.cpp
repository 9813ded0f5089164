#include "analysis/pivot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "analysis/csv_report.h"
#include "analysis/number_text.h"
#include "analysis/paired_windows.h"
#include "analysis/text_table.h"
#include "framework/base/error.h"

namespace aqlm_exp::analysis {
namespace {

/// The texts of one key, a cell a trial; empty where a trial lacks it.
class Keys {
 public:
  Keys(const Report& report, const FlatTable& table) : report_(report), table_(table) {}

  std::vector<std::string> texts(const std::string& key) const {
    std::vector<std::string> out;
    for (const FlatCell& cell : cells(key)) {
      out.push_back(!cell.text.empty() || std::isnan(cell.number) ? cell.text : fmt::format("{:.10g}", cell.number));
    }
    return out;
  }

  std::vector<double> numbers(const std::string& key) const {
    std::vector<double> out;
    bool any = false;
    for (const FlatCell& cell : cells(key)) {
      double value = cell.number;
      if (!cell.text.empty()) {
        char* end = nullptr;
        value = std::strtod(cell.text.c_str(), &end);
        if (*end != '\0') value = results::kAbsent;
      }
      any = any || !std::isnan(value);
      out.push_back(value);
    }
    if (!any) {
      throw UsageError(fmt::format("--pivot value={}: no trial has a number there; e.g. value=ppl, value=kl", key));
    }
    return out;
  }

 private:
  std::vector<FlatCell> cells(const std::string& key) const {
    std::vector<FlatCell> out;
    const int column = table_.find(key);
    if (column >= 0) {
      for (const auto& row : table_.rows) out.push_back(row[static_cast<size_t>(column)]);
      return out;
    }
    bool any = false;
    for (const TrialRow& row : report_.data->rows) {
      FlatCell cell;
      if (row.completed()) {
        nlohmann::json at = nlohmann::json::parse(row.record->config_identity, nullptr, /*allow_exceptions=*/false);
        std::string rest = "config." + key;
        while (!rest.empty() && at.is_object()) {
          const size_t dot = rest.find('.');
          const std::string part = rest.substr(0, dot);
          rest = dot == std::string::npos ? "" : rest.substr(dot + 1);
          nlohmann::json next = at.contains(part) ? at[part] : nlohmann::json();
          at = std::move(next);
        }
        if (at.is_number()) cell.number = at.get<double>();
        if (at.is_string()) cell.text = at.get<std::string>();
        if (at.is_boolean()) cell.text = at.get<bool>() ? "true" : "false";
        any = any || !cell.text.empty() || !std::isnan(cell.number);
      }
      out.push_back(std::move(cell));
    }
    if (!any) {
      std::string known;
      for (const FlatColumn& c : table_.columns) known += (known.empty() ? "" : ", ") + c.name;
      throw UsageError(fmt::format(
          "--pivot: unknown key \"{}\"; any key of the configuration (quant.nbits) or one of: {}", key, known));
    }
    return out;
  }

  const Report& report_;
  const FlatTable& table_;
};

double aggregate(const std::vector<double>& values, const std::string& how) {
  if (how == "count") return static_cast<double>(values.size());
  if (how == "median") return median(values);
  if (how == "mean") return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  return how == "min" ? *std::min_element(values.begin(), values.end())
                      : *std::max_element(values.begin(), values.end());
}

/// Numbers by size, texts by alphabet, numbers first.
std::vector<std::string> sorted_values(const std::vector<std::string>& texts) {
  std::vector<std::string> values;
  for (const std::string& text : texts) {
    if (std::find(values.begin(), values.end(), text) == values.end()) values.push_back(text);
  }
  const auto number = [](const std::string& text, double& value) {
    char* end = nullptr;
    value = std::strtod(text.c_str(), &end);
    return !text.empty() && *end == '\0';
  };
  std::sort(values.begin(), values.end(), [&](const std::string& a, const std::string& b) {
    double x = 0, y = 0;
    const bool nx = number(a, x), ny = number(b, y);
    if (nx != ny) return nx;
    return nx && x != y ? x < y : a < b;
  });
  return values;
}

}  // namespace

PivotSpec parse_pivot(const std::vector<std::string>& words) {
  PivotSpec spec;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const std::string key = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (key == "rows")
      spec.rows = value;
    else if (key == "cols")
      spec.cols = value;
    else if (key == "value")
      spec.value = value;
    else if (key == "agg")
      spec.aggregate = value;
    else
      throw UsageError(
          fmt::format("--pivot: got \"{}\", need rows=KEY cols=KEY value=KEY [agg=median|mean|min|max|count]", word));
  }
  if (spec.rows.empty() || spec.value.empty()) {
    throw UsageError("--pivot: need rows=KEY and value=KEY, e.g. --pivot rows=method cols=quant.nbits value=ppl");
  }
  static constexpr const char* kKnown[] = {"median", "mean", "min", "max", "count"};
  if (std::find(std::begin(kKnown), std::end(kKnown), spec.aggregate) == std::end(kKnown)) {
    throw UsageError(fmt::format("--pivot agg={}: need median, mean, min, max or count", spec.aggregate));
  }
  return spec;
}

std::vector<PivotTable> pivot(const Report& report, const PivotSpec& spec, const ModelOptions& options) {
  const FlatTable flat = trial_table(report);
  const Keys keys(report, flat);
  const std::vector<std::string> rows = keys.texts(spec.rows);
  const std::vector<std::string> cols =
      spec.cols.empty() ? std::vector<std::string>(rows.size(), spec.value) : keys.texts(spec.cols);
  const std::vector<double> values = keys.numbers(spec.value);
  std::vector<std::string> apart = {"model", "convention"};
  if (!options.allow_mixed_hardware) apart.push_back("hardware");
  if (!options.allow_mixed_builds) apart.push_back("build");
  std::vector<std::string> titles(rows.size());
  for (const std::string& key : apart) {
    if (key == spec.rows || key == spec.cols) continue;
    const std::vector<std::string> texts = keys.texts(key);
    for (size_t i = 0; i < titles.size(); ++i) titles[i] += (titles[i].empty() ? "" : " · ") + texts[i];
  }
  std::vector<PivotTable> tables;
  std::vector<std::string> order;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool counts =
        report.data->rows[i].completed() && !std::isnan(values[i]) && !rows[i].empty() && !cols[i].empty();
    if (counts && std::find(order.begin(), order.end(), titles[i]) == order.end()) order.push_back(titles[i]);
  }
  for (const std::string& title : order) {
    PivotTable table{.title = title};
    std::map<std::pair<std::string, std::string>, std::vector<double>> cells;
    std::vector<std::string> own_rows, own_cols;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (titles[i] != title || !report.data->rows[i].completed() || std::isnan(values[i]) || rows[i].empty() ||
          cols[i].empty())
        continue;
      cells[{rows[i], cols[i]}].push_back(values[i]);
      own_rows.push_back(rows[i]);
      own_cols.push_back(cols[i]);
    }
    table.rows = sorted_values(own_rows);
    table.cols = sorted_values(own_cols);
    for (const std::string& row : table.rows) {
      auto& line = table.cells.emplace_back();
      for (const std::string& col : table.cols) {
        const auto found = cells.find({row, col});
        line.push_back(found == cells.end() ? PivotCell{}
                                            : PivotCell{.value = aggregate(found->second, spec.aggregate),
                                                        .num_trials = found->second.size()});
      }
    }
    tables.push_back(std::move(table));
  }
  return tables;
}

std::string pivot_text(const std::vector<PivotTable>& tables, const PivotSpec& spec, size_t width) {
  std::string out;
  bool several = false;
  for (const PivotTable& table : tables) {
    out += printable(table.title) + "\n";
    std::vector<TableColumn> columns = {
        {.title = spec.rows + (spec.cols.empty() ? "" : " \\ " + spec.cols), .importance = 100}};
    for (const std::string& col : table.cols)
      columns.push_back({.title = col, .align = Align::kRight, .importance = 50});
    TextTable text(columns);
    for (size_t i = 0; i < table.rows.size(); ++i) {
      std::vector<std::string> cells = {table.rows[i]};
      for (const PivotCell& cell : table.cells[i]) {
        if (cell.num_trials == 0) {
          cells.push_back("–");
          continue;
        }
        std::string shown = metric_text(spec.value, cell.value);
        if (cell.num_trials > 1 && spec.aggregate != "count") shown += fmt::format(" ({})", cell.num_trials);
        several = several || cell.num_trials > 1;
        cells.push_back(std::move(shown));
      }
      text.add_row(std::move(cells));
    }
    out += text.str(width, false) + "\n";
  }
  if (several) out += fmt::format("{} of the trials counted in brackets\n", spec.aggregate);
  if (tables.size() > 1)
    out += "Tables of different models, conventions, hardware or builds do not compare with one another.\n";
  if (tables.empty()) out += "No trial has all three keys.\n";
  return out;
}

std::string pivot_csv(const std::vector<PivotTable>& tables, const PivotSpec& spec) {
  FlatTable flat;
  const auto column = [&](const std::string& name, bool number) {
    flat.columns.push_back({.name = name, .unit = {}, .description = {}, .number = number});
  };
  column("table", false);
  column(spec.rows, false);
  if (!spec.cols.empty()) column(spec.cols, false);
  column(fmt::format("{}_{}", spec.aggregate, spec.value), true);
  column("trials", true);
  for (const PivotTable& table : tables) {
    for (size_t i = 0; i < table.rows.size(); ++i) {
      for (size_t j = 0; j < table.cols.size(); ++j) {
        const PivotCell& cell = table.cells[i][j];
        if (cell.num_trials == 0) continue;
        std::vector<FlatCell> row = {{.text = table.title}, {.text = table.rows[i]}};
        if (!spec.cols.empty()) row.push_back({.text = table.cols[j]});
        row.push_back({.text = {}, .number = cell.value});
        row.push_back({.text = {}, .number = static_cast<double>(cell.num_trials)});
        flat.rows.push_back(std::move(row));
      }
    }
  }
  return csv(flat);
}

}  // namespace aqlm_exp::analysis
