#include "analysis/report_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/final_table.h"
#include "analysis/number_text.h"

namespace aqlm_exp::analysis {
namespace {

namespace metric = results::metric;
namespace label = results::label;
using results::TrialRecord;

constexpr double kConfidence = 0.95;

/// Metrics in the order of tables, and what their columns are called.
struct KnownMetric {
  const char* name;
  const char* title;
};
constexpr KnownMetric kKnown[] = {{"bits_per_weight", "bits"},
                                  {"ppl", "perplexity"},
                                  {"kl", "KL"},
                                  {"top1_agreement", "top-1"},
                                  {"decode_tokens_per_s", "decode"},
                                  {"prefill_tokens_per_s", "prefill"},
                                  {"model_mib", "size"},
                                  {"resident_mib", "resident"},
                                  {"peak_device_mib", "peak device"},
                                  {"peak_host_mib", "peak host"},
                                  {"quantise_s", "quantise"},
                                  {"bits_per_weight_model", "bits (all)"}};

std::string provenance_text(const TrialRecord& record, std::string_view key) {
  for (const auto& [name, value] : record.provenance) {
    if (name != key) continue;
    if (const auto* text = std::get_if<std::string>(&value)) return *text;
  }
  return {};
}

std::string before_colon(const std::string& text) { return text.substr(0, text.find(':')); }

/// "quant.nbits=3" → key and value.
std::pair<std::string, std::string> split_override(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos) return {text, ""};
  size_t start = text.find_first_not_of('+');
  return {text.substr(start, equals - start), text.substr(equals + 1)};
}

/// The identity without seed and repeat: equal for repeats of one configuration.
std::string entry_identity(const TrialRow& row) {
  nlohmann::json identity = nlohmann::json::parse(row.record->config_identity, nullptr, /*allow_exceptions=*/false);
  if (identity.is_object()) {
    identity.erase("repeat");
    if (identity.contains("config") && identity["config"].is_object()) identity["config"].erase("seed");
    return identity.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
  std::string text;
  for (const std::string& override_text : row.overrides) {
    if (split_override(override_text).first != "seed") text += override_text + "\n";
  }
  return text;
}

/// Bits of the codes alone: nbits, or num_codebooks · nbits_per_codebook / group size.
double nominal_bits(const TrialRecord& record) {
  if (const results::Metric* stored = record.find_metric("nominal_bits")) return stored->value;
  const nlohmann::json identity = nlohmann::json::parse(record.config_identity, nullptr, /*allow_exceptions=*/false);
  const auto pointer = nlohmann::json::json_pointer("/config/quant");
  if (!identity.is_object() || !identity.contains(pointer)) return results::kAbsent;
  const nlohmann::json& quant = identity.at(pointer);
  const auto number = [&](const char* key, double fallback) {
    return quant.contains(key) && quant.at(key).is_number() ? quant.at(key).get<double>() : fallback;
  };
  if (quant.contains("num_codebooks")) {
    return number("num_codebooks", results::kAbsent) * number("nbits_per_codebook", results::kAbsent) /
           (number("in_group_size", results::kAbsent) * number("out_group_size", 1));
  }
  return number("nbits", results::kAbsent);
}

struct GroupKey {
  std::string key, model, convention, convention_text, hardware, build;
};

GroupKey group_key(const TrialRecord& record, const ModelOptions& options) {
  GroupKey key;
  key.model = record.find_label(label::kModel);
  key.convention = record.find_label(label::kConvention);
  const std::string hardware(record.find_label(label::kHardware));
  key.hardware = options.allow_mixed_hardware ? "any hardware" : hardware.empty() ? "unknown hardware" : hardware;
  key.build = options.allow_mixed_builds ? "any build" : record.build_id.empty() ? "unknown build" : record.build_id;
  key.convention_text = convention_text(record);
  // The same name may stand for another checkpoint or text: contents count.
  key.key = fmt::format(
      "{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", key.model, provenance_text(record, "inputs/model_path/sha256"),
      key.convention, provenance_text(record, "eval/ids_sha256"), before_colon(provenance_text(record, "metrics/ppl")),
      before_colon(provenance_text(record, "metrics/kl")),
      before_colon(provenance_text(record, "metrics/bits_per_weight")), key.hardware, key.build);
  return key;
}

const results::Samples* find_samples(const TrialRecord& record, const std::string& name) {
  for (const results::Samples& samples : record.samples) {
    if (samples.name == name) return &samples;
  }
  return nullptr;
}

void gather_metrics(const Dataset& data, Entry& entry) {
  std::map<std::string, std::vector<Measured>> all;
  for (size_t row : entry.trials) {
    const TrialRecord& record = *data.rows[row].record;
    for (const results::Metric& stored : record.metrics) all[stored.name].push_back(measure_trial(record, stored));
  }
  for (auto& [name, measured] : all) {
    if (measured.size() == 1) {
      entry.metrics[name] = measured.front();
      continue;
    }
    std::vector<double> values;
    for (const Measured& one : measured) values.push_back(one.value);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    entry.metrics[name] = {
        .value = median(values), .low = *low, .high = *high, .n = static_cast<int64_t>(values.size())};
  }
}

/// The blocks of each of an entry's trials; empty when a trial lacks them.
std::vector<std::vector<statistics::Block>> entry_blocks(const Dataset& data, const Entry& entry,
                                                         const std::string& name) {
  std::vector<std::vector<statistics::Block>> runs;
  for (size_t row : entry.trials) {
    runs.push_back(window_blocks(*data.rows[row].record, name));
    if (runs.back().empty()) return {};
  }
  return runs;
}

/// Smaller first, NaN last; then perplexity, bits, key, so that the order is always the same.
bool ranks_before(const Entry& a, const Entry& b, const std::string& by) {
  const auto before = [](double x, double y) { return std::isnan(y) ? !std::isnan(x) : x < y; };
  for (const std::string& name : {by, std::string(metric::kPerplexity), std::string(metric::kBitsPerWeight)}) {
    const double x = a.value(name), y = b.value(name);
    if (before(x, y)) return true;
    if (before(y, x)) return false;
  }
  return a.key < b.key;
}

Budget rank(const Dataset& data, const std::vector<Entry>& entries, std::vector<size_t> members) {
  Budget budget;
  const bool by_kl =
      std::all_of(members.begin(), members.end(), [&](size_t i) { return entries[i].find(metric::kKl) != nullptr; });
  budget.metric = by_kl ? metric::kKl : metric::kPerplexity;
  std::sort(members.begin(), members.end(),
            [&](size_t a, size_t b) { return ranks_before(entries[a], entries[b], budget.metric); });
  budget.confidence = 1 - (1 - kConfidence) / static_cast<double>(std::max<size_t>(members.size() - 1, 1));
  std::vector<std::vector<statistics::Block>> best;
  for (size_t i = 0; i < members.size(); ++i) {
    const Entry& entry = entries[members[i]];
    Standing standing{.entry = members[i], .verdict = Verdict::kUnknown, .difference = std::nullopt};
    if (i == 0) {
      if (!std::isnan(entry.value(budget.metric))) standing.verdict = Verdict::kBest;
      best = entry_blocks(data, entry, budget.metric);
    } else if (!best.empty()) {
      standing.difference = paired_difference(best, entry_blocks(data, entry, budget.metric), budget.confidence);
      if (standing.difference) {
        standing.verdict = standing.difference->excludes_zero() ? Verdict::kWorse : Verdict::kTie;
      }
    }
    if (std::isnan(entry.value(budget.metric)) && i > 0) {
      standing.verdict = Verdict::kWorse;  // NaN is a result: the model is broken
      standing.difference.reset();
    }
    budget.standings.push_back(std::move(standing));
  }
  return budget;
}

void rank_group(const Dataset& data, Group& group) {
  std::map<size_t, std::vector<size_t>> members;
  for (size_t i = 0; i < group.entries.size(); ++i) {
    const Entry& entry = group.entries[i];
    if (entry.baseline) {
      if (!group.baseline) group.baseline = i;
    } else {
      members[budget_of(entry.value(metric::kBitsPerWeight), data.budgets)].push_back(i);
    }
  }
  for (auto& [index, list] : members) {
    Budget budget = rank(data, group.entries, std::move(list));
    if (index < data.budgets.size()) {
      budget.bound = data.budgets[index];
      budget.title = fmt::format("≤ {} bits", data.budgets[index]);
    } else {
      budget.bound = std::numeric_limits<double>::infinity();
      budget.title = data.budgets.empty() ? "all" : fmt::format("> {} bits", data.budgets.back());
    }
    group.budgets.push_back(std::move(budget));
  }
}

/// Titles, with the swept keys that tell look-alikes apart.
void name_entries(Group& group) {
  std::map<std::string, std::vector<Entry*>> alike;
  for (Entry& entry : group.entries) {
    entry.title = method_title(entry.method);
    if (!entry.setting.empty() && entry.setting != entry.title) entry.title += " " + entry.setting;
    alike[entry.title].push_back(&entry);
  }
  for (auto& [title, entries] : alike) {
    if (entries.size() < 2) continue;
    std::set<std::string> presets;
    std::map<std::string, std::set<std::string>> values;
    for (const Entry* entry : entries) {
      presets.insert(entry->preset);
      for (const auto& [key, value] : entry->params) values[key].insert(value);
    }
    for (Entry* entry : entries) {
      std::string extra = presets.size() > 1 && !entry->preset.empty() ? " " + entry->preset : "";
      for (const auto& [key, set] : values) {
        const auto own = entry->params.find(key);
        const bool everywhere =
            std::all_of(entries.begin(), entries.end(), [&k = key](const Entry* e) { return e->params.count(k) != 0; });
        if (own == entry->params.end() || (set.size() < 2 && everywhere) || key == "preset") continue;
        extra += fmt::format(" {}={}", key.substr(key.rfind('.') + 1), own->second);
      }
      entry->title += extra;
    }
  }
}

void gather_entries(const Dataset& data, const ModelOptions& options, Report& report) {
  std::map<std::string, size_t> groups;
  std::map<std::string, std::pair<size_t, size_t>> places;  // group and entry of an identity
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const TrialRow& row = data.rows[i];
    if (!row.completed()) continue;
    const TrialRecord& record = *row.record;
    const GroupKey key = group_key(record, options);
    const auto [group_at, new_group] = groups.emplace(key.key, report.groups.size());
    if (new_group) {
      report.groups.push_back({.model = key.model,
                               .convention = key.convention,
                               .convention_text = key.convention_text,
                               .hardware = key.hardware,
                               .build = key.build,
                               .id = fmt::format("g{}", report.groups.size()),
                               .entries = {},
                               .baseline = {},
                               .budgets = {}});
    }
    Group& group = report.groups[group_at->second];
    const auto [place, new_entry] =
        places.emplace(key.key + "\n" + entry_identity(row), std::make_pair(group_at->second, group.entries.size()));
    if (new_entry) {
      Entry entry;
      entry.key = fmt::format("{}e{}", group.id, group.entries.size());
      entry.method = record.find_label(label::kMethod);
      if (entry.method.empty()) entry.method = row.name;
      entry.setting = record.find_label(label::kSetting);
      entry.preset = record.find_label(label::kPreset);
      entry.nominal_bits = nominal_bits(record);
      entry.baseline = entry.method == "none";
      for (const std::string& text : row.overrides) {
        auto [name, value] = split_override(text);
        if (name != "seed") entry.params[name] = value;
      }
      group.entries.push_back(std::move(entry));
    }
    group.entries[place->second.second].trials.push_back(i);
  }
}

void gather_metric_infos(const Dataset& data, Report& report) {
  std::vector<MetricInfo> others;
  std::map<std::string, MetricInfo> known;
  std::set<std::string> seen;
  for (const TrialRow& row : data.rows) {
    if (!row.completed()) continue;
    for (const results::Metric& stored : row.record->metrics) {
      if (!seen.insert(stored.name).second) continue;
      MetricInfo info{.name = stored.name,
                      .title = stored.name,
                      .unit = stored.unit,
                      .description = stored.description,
                      .direction = stored.direction,
                      .deterministic = stored.deterministic};
      if (stored.name == metric::kTop1Agreement && stored.unit == "fraction") info.unit = "%";
      std::replace(info.title.begin(), info.title.end(), '_', ' ');
      known[stored.name] = info;
      const bool is_known = std::any_of(std::begin(kKnown), std::end(kKnown),
                                        [&](const KnownMetric& k) { return stored.name == k.name; });
      if (!is_known) others.push_back(info);
    }
  }
  for (const KnownMetric& name : kKnown) {
    const auto found = known.find(name.name);
    if (found == known.end()) continue;
    found->second.title = name.title;
    report.metrics.push_back(found->second);
  }
  report.metrics.insert(report.metrics.end(), others.begin(), others.end());
}

void gather_params(const Dataset& data, Report& report) {
  std::vector<std::string> order;
  std::map<std::string, std::set<std::string>> values;
  for (const TrialRow& row : data.rows) {
    std::set<std::string> own;
    for (const std::string& text : row.overrides) {
      const auto [key, value] = split_override(text);
      if (values.find(key) == values.end()) order.push_back(key);
      values[key].insert(value);
      own.insert(key);
    }
  }
  for (const std::string& key : order) {
    const bool everywhere = std::all_of(data.rows.begin(), data.rows.end(), [&](const TrialRow& row) {
      return std::any_of(row.overrides.begin(), row.overrides.end(),
                         [&](const std::string& text) { return split_override(text).first == key; });
    });
    if (values[key].size() > 1 || !everywhere) report.params.push_back(key);
  }
}

}  // namespace

const Measured* Entry::find(const std::string& name) const {
  const auto found = metrics.find(name);
  return found == metrics.end() ? nullptr : &found->second;
}

double Entry::value(const std::string& name) const {
  const Measured* measured = find(name);
  return measured != nullptr ? measured->value : results::kAbsent;
}

bool Budget::has_best() const { return !standings.empty() && standings.front().verdict == Verdict::kBest; }

std::vector<size_t> Budget::ties() const {
  std::vector<size_t> entries;
  for (const Standing& standing : standings) {
    if (standing.verdict == Verdict::kTie) entries.push_back(standing.entry);
  }
  return entries;
}

std::optional<size_t> Budget::next_method(const std::vector<Entry>& entries) const {
  for (size_t i = 1; i < standings.size(); ++i) {
    if (entries[standings[i].entry].method != entries[standings.front().entry].method) return i;
  }
  return std::nullopt;
}

std::string Group::title() const { return model.empty() ? "unnamed model" : model; }

std::string Group::subtitle() const {
  std::string text = "perplexity by " + (convention.empty() ? std::string("an unnamed convention") : convention);
  if (!convention_text.empty()) text += fmt::format(" ({})", convention_text);
  return fmt::format("{} · {} · build {}", text, hardware, build);
}

const MetricInfo* Report::find_metric(const std::string& name) const {
  for (const MetricInfo& info : metrics) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

Measured measure_trial(const TrialRecord& record, const results::Metric& stored) {
  Measured measured{.value = stored.value, .low = stored.ci_low, .high = stored.ci_high, .n = 1};
  if (std::isfinite(measured.low) || std::isfinite(measured.high)) return measured;
  if (stored.name == metric::kPerplexity || stored.name == metric::kKl) {
    if (const results::Samples* samples =
            find_samples(record, stored.name == metric::kKl ? "window_kl" : "window_loss")) {
      if (const auto interval = mean_interval(samples->values, kConfidence)) {
        const bool exponential = stored.name == metric::kPerplexity;
        measured.low = exponential ? std::exp(interval->low) : std::max(interval->low, 0.0);
        measured.high = exponential ? std::exp(interval->high) : interval->high;
      }
    }
  } else if (const results::Samples* samples = find_samples(record, stored.name)) {
    if (samples->values.size() > 1) {
      const auto [low, high] = std::minmax_element(samples->values.begin(), samples->values.end());
      measured.low = *low;
      measured.high = *high;
    }
  }
  return measured;
}

std::vector<bool> pareto_front(const std::vector<double>& x, const std::vector<double>& y, bool x_higher_is_better) {
  std::vector<size_t> order;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isfinite(x[i]) && std::isfinite(y[i])) order.push_back(i);
  }
  const double sign = x_higher_is_better ? -1 : 1;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return sign * x[a] != sign * x[b] ? sign * x[a] < sign * x[b] : y[a] < y[b]; });
  std::vector<bool> front(x.size(), false);
  double lowest = std::numeric_limits<double>::infinity(), at = 0;
  for (size_t i : order) {
    // Equal points share the front.
    if (y[i] < lowest || (y[i] == lowest && x[i] == at)) {
      front[i] = true;
      lowest = y[i];
      at = x[i];
    }
  }
  return front;
}

Report build_report(const Dataset& data, const ModelOptions& options) {
  Report report;
  report.data = &data;
  gather_entries(data, options, report);
  for (Group& group : report.groups) {
    for (Entry& entry : group.entries) gather_metrics(data, entry);
    name_entries(group);
    rank_group(data, group);
  }
  gather_metric_infos(data, report);
  gather_params(data, report);
  report.methods = {"aqlm", "gptq", "awq", "hqq", "rtn"};
  for (const Group& group : report.groups) {
    for (const Entry& entry : group.entries) {
      if (!entry.baseline &&
          std::find(report.methods.begin(), report.methods.end(), entry.method) == report.methods.end()) {
        report.methods.push_back(entry.method);
      }
    }
  }
  std::set<std::string> builds, hardware;
  for (size_t i = 0; i < data.rows.size(); ++i) {
    const TrialRow& row = data.rows[i];
    if (row.completed()) {
      ++report.num_completed;
      builds.insert(row.record->build_id);
      hardware.insert(std::string(row.record->find_label(label::kHardware)));
    } else if (row.status == "planned") {
      ++report.num_planned;
    } else {
      report.failures.push_back(i);
    }
  }
  report.notes = data.notes;
  if (builds.size() > 1) {
    report.notes.push_back(fmt::format(
        "The trials come from {} builds of the program. {}", builds.size(),
        options.allow_mixed_builds ? "They are ranked together, as asked (--allow-mixed-builds)."
                                   : "Each build has its own ranking; --allow-mixed-builds ranks them together."));
  }
  if (hardware.size() > 1) {
    report.notes.push_back(fmt::format(
        "The trials ran on {} kinds of hardware. {}", hardware.size(),
        options.allow_mixed_hardware
            ? "They are ranked together, as asked (--allow-mixed-hardware): speeds and times do not compare."
            : "Each has its own ranking and pictures; --allow-mixed-hardware puts them together."));
  }
  if (report.groups.size() > 1) {
    report.notes.push_back(
        "Numbers of different sections (another model, text, convention, hardware or build) do not compare.");
  }
  return report;
}

}  // namespace aqlm_exp::analysis
