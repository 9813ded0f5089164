#include "analysis/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/number_text.h"
#include "analysis/provenance_table.h"

namespace aqlm_exp::analysis {
namespace {

using results::TrialRecord;

bool starts_with(const std::string& text, std::string_view prefix) { return text.rfind(prefix, 0) == 0; }

/// Nested objects as dotted keys.
void flatten(const nlohmann::json& value, const std::string& key, std::map<std::string, std::string>& out) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [name, inner] : value.items()) flatten(inner, key.empty() ? name : key + "." + name, out);
  } else {
    out[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
}

std::map<std::string, std::string> identity_fields(const TrialRecord& record) {
  std::map<std::string, std::string> fields;
  const nlohmann::json identity = nlohmann::json::parse(record.config_identity, nullptr, /*allow_exceptions=*/false);
  if (identity.is_object()) flatten(identity, "", fields);
  std::map<std::string, std::string> plain;
  for (auto& [key, value] : fields) plain[starts_with(key, "config.") ? key.substr(7) : key] = value;
  return plain;
}

/// Where a field of provenance belongs; "" for what says nothing about a cause (hashes of inputs are in the identity).
std::string cause_of(const std::string& key) {
  for (std::string_view prefix : {"git/", "build/", "build_id", "libraries/", "plugins/", "binary"}) {
    if (starts_with(key, prefix)) return "code";
  }
  for (std::string_view prefix : {"host/", "gpu/", "cuda/", "device/", "threads", "slurm/", "kernels/"}) {
    if (starts_with(key, prefix)) return "machine";
  }
  return {};
}

std::vector<FieldChange> changes(const std::map<std::string, std::string>& a,
                                 const std::map<std::string, std::string>& b) {
  std::set<std::string> keys;
  for (const auto& [key, value] : a) keys.insert(key);
  for (const auto& [key, value] : b) keys.insert(key);
  std::vector<FieldChange> out;
  for (const std::string& key : keys) {
    const auto in_a = a.find(key), in_b = b.find(key);
    FieldChange change{.key = key, .a = in_a == a.end() ? "" : in_a->second, .b = in_b == b.end() ? "" : in_b->second};
    if ((in_a == a.end()) != (in_b == b.end()) || change.a != change.b) out.push_back(std::move(change));
  }
  return out;
}

Causes causes_of(const TrialRecord& a, const TrialRecord& b) {
  Causes causes;
  causes.config = changes(identity_fields(a), identity_fields(b));
  std::map<std::string, std::string> code[2], machine[2];
  const TrialRecord* records[2] = {&a, &b};
  for (int side = 0; side < 2; ++side) {
    code[side]["build_id"] = records[side]->build_id;
    machine[side]["hardware"] = records[side]->find_label(results::label::kHardware);
    for (const auto& [key, value] : records[side]->provenance) {
      const std::string cause = cause_of(key);
      // Measured kernel times differ from run to run; which kernel was chosen is what matters.
      if (starts_with(key, "kernels/") && (key.size() < 7 || key.substr(key.size() - 7) != "/chosen")) continue;
      if (cause == "code") code[side][key] = value_text(value);
      if (cause == "machine") machine[side][key] = value_text(value);
    }
  }
  causes.code = changes(code[0], code[1]);
  causes.machine = changes(machine[0], machine[1]);
  return causes;
}

std::string cause_words(const Causes& causes) {
  std::string words;
  const auto add = [&](const char* word) { words += (words.empty() ? "" : " or ") + std::string(word); };
  if (!causes.config.empty()) add("config");
  if (!causes.code.empty()) add("code");
  if (!causes.machine.empty()) add("machine");
  return words;
}

const std::vector<double>* repeats_of(const TrialRecord& record, const std::string& name) {
  for (const results::Samples& samples : record.samples) {
    if (samples.name == name && samples.values.size() > 1) return &samples.values;
  }
  return nullptr;
}

/// Measured values (speeds, times): noise as long as the ranges of their repeats meet.
void judge_measured(const TrialRecord& a, const TrialRecord& b, MetricChange& change, const std::string& causes) {
  const std::vector<double>*x = repeats_of(a, change.metric), *y = repeats_of(b, change.metric);
  if (x == nullptr || y == nullptr) {
    change.change = Change::kUnknown;
    change.why = "measured once: no repeats to judge by";
    return;
  }
  const auto [x_low, x_high] = std::minmax_element(x->begin(), x->end());
  const auto [y_low, y_high] = std::minmax_element(y->begin(), y->end());
  if (*x_low <= *y_high && *y_low <= *x_high) {
    change.change = Change::kNoise;
    change.why = "noise: the ranges of the repeats meet";
    return;
  }
  change.change = Change::kReal;
  change.why = causes.empty() ? "machine load, perhaps: the ranges of the repeats do not meet" : causes;
}

MetricChange compare_metric(const TrialRecord& a, const TrialRecord& b, const std::string& name, const Causes& causes) {
  const results::Metric *in_a = a.find_metric(name), *in_b = b.find_metric(name);
  MetricChange change{.metric = name};
  if (in_a != nullptr) change.a = in_a->value;
  if (in_b != nullptr) change.b = in_b->value;
  const std::string words = cause_words(causes);
  if (in_a == nullptr || in_b == nullptr) {
    change.change = Change::kUnknown;
    change.why = in_a == nullptr ? "only in B" : "only in A";
    return change;
  }
  if (change.a == change.b || (std::isnan(change.a) && std::isnan(change.b))) return change;
  if (!in_a->deterministic || !in_b->deterministic) {
    judge_measured(a, b, change, words);
    return change;
  }
  if (words.empty()) {
    change.change = Change::kUnexplained;
    change.why = "same configuration, code and machine: this number should be the same";
    return change;
  }
  change.change = Change::kReal;
  change.why = words;
  if (name == results::metric::kKl || name == results::metric::kPerplexity) {
    const std::vector<std::vector<statistics::Block>> blocks_a = {window_blocks(a, name)},
                                                      blocks_b = {window_blocks(b, name)};
    change.difference = paired_difference(blocks_a, blocks_b, 0.95);
    if (!change.difference) {
      change.change = Change::kUnknown;
      change.why += " (not the same text or windows: the numbers do not compare)";
    } else if (!change.difference->excludes_zero()) {
      change.change = Change::kNoise;
      change.why = "noise: the paired difference may be chance";
    }
  }
  return change;
}

std::string without_seed(const TrialRecord& record) {
  nlohmann::json identity = nlohmann::json::parse(record.config_identity, nullptr, /*allow_exceptions=*/false);
  if (!identity.is_object()) return record.id;
  identity.erase("repeat");
  if (identity.contains("config") && identity["config"].is_object()) identity["config"].erase("seed");
  return identity.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string swept(const TrialRow& row) {
  std::vector<std::string> sorted = row.overrides;
  std::sort(sorted.begin(), sorted.end());
  std::string text = std::to_string(row.repeat);
  for (const std::string& one : sorted) text += "\n" + one;
  return text;
}

/// Pairs rows whose keys are equal, each row once.
template <typename Key>
void match(const Dataset& a, const Dataset& b, std::vector<bool>& used_a, std::vector<bool>& used_b,
           std::vector<std::pair<size_t, size_t>>& pairs, const Key& key) {
  std::multimap<std::string, size_t> partners;
  for (size_t j = 0; j < b.rows.size(); ++j) {
    if (!used_b[j]) partners.emplace(key(b.rows[j]), j);
  }
  for (size_t i = 0; i < a.rows.size(); ++i) {
    if (used_a[i]) continue;
    const auto found = partners.find(key(a.rows[i]));
    if (found == partners.end() || found->first.empty()) continue;
    used_a[i] = used_b[found->second] = true;
    pairs.emplace_back(i, found->second);
    partners.erase(found);
  }
}

std::string title_of(const TrialRow& row) {
  if (!row.completed()) return row.name;
  std::string title = method_title(row.record->find_label(results::label::kMethod));
  const std::string setting(row.record->find_label(results::label::kSetting));
  if (!setting.empty() && setting != title) title += " " + setting;
  if (row.repeat > 0) title += fmt::format(" #{}", row.repeat);
  return title.empty() ? row.name : title;
}

std::string state_of(const TrialRow& row) {
  return row.message.empty() ? row.status : fmt::format("{} ({})", row.status, row.message);
}

}  // namespace

const char* change_name(Change change) {
  switch (change) {
    case Change::kEqual:
      return "equal";
    case Change::kNoise:
      return "noise";
    case Change::kReal:
      return "real";
    case Change::kUnknown:
      return "unknown";
    case Change::kUnexplained:
      break;
  }
  return "unexplained";
}

Diff diff(const Dataset& a, const Dataset& b) {
  Diff result;
  std::vector<bool> used_a(a.rows.size()), used_b(b.rows.size());
  std::vector<std::pair<size_t, size_t>> pairs;
  if (a.rows.size() == 1 && b.rows.size() == 1) {
    used_a[0] = used_b[0] = true;
    pairs.emplace_back(0, 0);
  }
  match(a, b, used_a, used_b, pairs, [](const TrialRow& row) { return row.id; });
  match(a, b, used_a, used_b, pairs,
        [](const TrialRow& row) { return row.completed() ? without_seed(*row.record) : std::string(); });
  match(a, b, used_a, used_b, pairs, swept);
  std::sort(pairs.begin(), pairs.end());
  for (const auto& [i, j] : pairs) {
    const TrialRow &row_a = a.rows[i], &row_b = b.rows[j];
    if (!row_a.completed() || !row_b.completed()) {
      if (row_a.status != row_b.status || row_a.message != row_b.message) {
        result.unfinished.push_back(fmt::format("{}: {} in A, {} in B", row_a.name, state_of(row_a), state_of(row_b)));
      }
      continue;
    }
    PairDiff pair{.row_a = i, .row_b = j, .title = title_of(row_a)};
    if (title_of(row_b) != pair.title) pair.title += " → " + title_of(row_b);
    pair.causes = causes_of(*row_a.record, *row_b.record);
    std::vector<std::string> names;
    for (const TrialRecord* record : {&*row_a.record, &*row_b.record}) {
      for (const results::Metric& metric : record->metrics) {
        if (std::find(names.begin(), names.end(), metric.name) == names.end()) names.push_back(metric.name);
      }
    }
    for (const std::string& name : names) {
      pair.metrics.push_back(compare_metric(*row_a.record, *row_b.record, name, pair.causes));
    }
    result.pairs.push_back(std::move(pair));
  }
  for (size_t i = 0; i < used_a.size(); ++i) {
    if (!used_a[i]) result.only_a.push_back(i);
  }
  for (size_t j = 0; j < used_b.size(); ++j) {
    if (!used_b[j]) result.only_b.push_back(j);
  }
  return result;
}

}  // namespace aqlm_exp::analysis
