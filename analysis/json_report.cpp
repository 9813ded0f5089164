#include "analysis/json_report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/provenance_table.h"
#include "analysis/report_table.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::analysis {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json text(const std::string& value) { return utf8_replace_invalid(value); }

Json texts(const std::vector<std::string>& values) {
  Json json = Json::array();
  for (const std::string& value : values) json.push_back(text(value));
  return json;
}

Json difference_json(const std::optional<PairedDifference>& difference) {
  if (!difference) return nullptr;
  return {{"mean", number(difference->mean)},
          {"low", number(difference->low)},
          {"high", number(difference->high)},
          {"p_value", number(difference->p_value)},
          {"n", difference->n},
          {"confidence", difference->confidence}};
}

const char* verdict_name(Verdict verdict) {
  switch (verdict) {
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

Json entry_json(const Dataset& data, const Entry& entry) {
  Json json;
  json["key"] = entry.key;
  json["method"] = text(entry.method);
  json["title"] = text(entry.title);
  json["setting"] = text(entry.setting);
  json["preset"] = text(entry.preset);
  json["baseline"] = entry.baseline;
  json["nominal_bits"] = number(entry.nominal_bits);
  json["params"] = Json::object();
  for (const auto& [key, value] : entry.params) json["params"][utf8_replace_invalid(key)] = text(value);
  json["trials"] = Json::array();
  for (size_t row : entry.trials) json["trials"].push_back(data.rows[row].id);
  json["metrics"] = Json::object();
  for (const auto& [name, measured] : entry.metrics) {
    json["metrics"][name] = {{"value", number(measured.value)},
                             {"low", number(measured.low)},
                             {"high", number(measured.high)},
                             {"n", measured.n}};
  }
  return json;
}

Json group_json(const Report& report, const Group& group) {
  Json json;
  json["id"] = group.id;
  json["model"] = text(group.model);
  json["convention"] = text(group.convention);
  json["convention_text"] = text(group.convention_text);
  json["hardware"] = text(group.hardware);
  json["build"] = text(group.build);
  json["baseline"] = group.baseline ? Json(group.entries[*group.baseline].key) : Json(nullptr);
  json["entries"] = Json::array();
  for (const Entry& entry : group.entries) json["entries"].push_back(entry_json(*report.data, entry));
  json["budgets"] = Json::array();
  for (const Budget& budget : group.budgets) {
    const Headline line = headline(report, group, budget);
    Json one;
    one["title"] = budget.title;
    one["bound"] = number(budget.bound);
    one["metric"] = budget.metric;
    one["confidence"] = budget.confidence;
    one["headline"] = {{"badge", line.badge},           {"best", text(line.best)},
                       {"measure", text(line.measure)}, {"perplexity", text(line.perplexity)},
                       {"bits", text(line.bits)},       {"reason", text(line.reason)},
                       {"command", text(line.command)}};
    one["standings"] = Json::array();
    for (const Standing& standing : budget.standings) {
      one["standings"].push_back({{"entry", group.entries[standing.entry].key},
                                  {"verdict", verdict_name(standing.verdict)},
                                  {"difference", difference_json(standing.difference)}});
    }
    json["budgets"].push_back(std::move(one));
  }
  return json;
}

Json trial_json(const TrialRow& row) {
  Json json;
  json["id"] = row.id;
  json["name"] = text(row.name);
  json["source"] = text(row.source);
  json["status"] = row.status;
  json["repeat"] = row.repeat;
  json["attempt"] = row.attempt;
  json["duration_s"] = number(row.duration_s);
  json["overrides"] = texts(row.overrides);
  json["command"] = text(row.command);
  if (!row.completed()) {
    json["failure"] = {{"class", text(row.failure_class)},
                       {"message", text(row.message)},
                       {"exit_code", row.exit_code},
                       {"signal", row.signal},
                       {"log_tail", texts(row.log_tail)}};
    return json;
  }
  json["build"] = text(row.record->build_id);
  json["labels"] = Json::object();
  for (const auto& [name, value] : row.record->labels) json["labels"][name] = text(value);
  json["metrics"] = Json::object();
  for (const results::Metric& metric : row.record->metrics) json["metrics"][metric.name] = number(metric.value);
  return json;
}

}  // namespace

std::string json_report(const Report& report) {
  const Dataset& data = *report.data;
  Json json;
  json["format"] = "aqlm-exp-report";
  json["format_version"] = 1;
  json["writer"] = data.writer;
  json["num_trials"] = data.rows.size();
  json["num_completed"] = report.num_completed;
  json["num_without_result"] = report.failures.size();
  json["num_planned"] = report.num_planned;
  json["notes"] = texts(report.notes);
  json["sources"] = Json::array();
  for (const Source& source : data.sources) {
    Json files = Json::object();
    for (const auto& [path, hash] : source.files) files[utf8_replace_invalid(path)] = hash;
    json["sources"].push_back({{"path", text(source.path)},
                               {"config_file", text(source.config_file)},
                               {"created_utc", source.created_utc},
                               {"command", text(source.command)},
                               {"build_id", source.build_id},
                               {"files", std::move(files)}});
  }
  json["metrics"] = Json::array();
  for (const MetricInfo& info : report.metrics) {
    const char* direction = info.direction == results::Direction::kMin   ? "min"
                            : info.direction == results::Direction::kMax ? "max"
                                                                         : "none";
    json["metrics"].push_back({{"name", info.name},
                               {"title", text(info.title)},
                               {"unit", text(info.unit)},
                               {"description", text(info.description)},
                               {"direction", direction},
                               {"deterministic", info.deterministic}});
  }
  json["params"] = texts(report.params);
  json["groups"] = Json::array();
  for (const Group& group : report.groups) json["groups"].push_back(group_json(report, group));
  json["trials"] = Json::array();
  for (const TrialRow& row : data.rows) json["trials"].push_back(trial_json(row));
  json["provenance"] = Json::array();
  for (const ProvenanceField& field : provenance_fields(data)) {
    Json values = Json::array();
    for (const auto& [value, count] : field.values) values.push_back({{"value", text(value)}, {"trials", count}});
    json["provenance"].push_back({{"key", field.key}, {"values", std::move(values)}, {"more", field.num_more}});
  }
  json["definitions"] = Json::object();
  for (const auto& [name, value] : report_definitions(data))
    json["definitions"][utf8_replace_invalid(name)] = text(value);
  return json.dump(1) + "\n";
}

}  // namespace aqlm_exp::analysis
