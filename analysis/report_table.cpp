#include "analysis/report_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "analysis/number_text.h"

namespace aqlm_exp::analysis {
namespace {

namespace metric = results::metric;

/// Metrics that the first look needs; the others wait behind the choice of columns.
const std::set<std::string> kShown = {"bits_per_weight",     "ppl",       "kl",        "top1_agreement",
                                      "decode_tokens_per_s", "model_mib", "quantise_s"};

std::string plain_id(std::string_view text) {
  std::string id;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    id += (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '_';
  }
  return id;
}

std::string verdict_word(Verdict verdict) {
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

ReportCell metric_cell(const Entry& entry, const std::string& name) {
  const Measured* measured = entry.find(name);
  if (measured == nullptr || (entry.baseline && name == metric::kQuantiseS)) return {.text = "–"};
  return {.text = metric_text(name, measured->value), .value = measured->value};
}

class Builder {
 public:
  Builder(const Report& report, const Group& group) : report_(report), group_(group) {
    std::set<std::string> presets;
    bool nominal = false;
    for (const Entry& entry : group.entries) {
      if (!entry.preset.empty()) presets.insert(entry.preset);
      nominal = nominal || !std::isnan(entry.nominal_bits);
      repeats_ = repeats_ || entry.trials.size() > 1;
      for (const auto& [name, measured] : entry.metrics) used_.insert(name);
      for (const auto& [name, value] : entry.params) params_.insert(name);
    }
    add({.id = "verdict", .title = "standing", .unit = "", .description = "within its bit budget"});
    add({.id = "budget", .title = "budget", .unit = "", .description = "bit budget it is ranked in"});
    add({.id = "configuration", .title = "configuration", .unit = "", .description = "method and setting"});
    if (!presets.empty()) {
      add({.id = "preset",
           .title = "preset",
           .unit = "",
           .description = "preset of the method",
           .shown = presets.size() > 1});
    }
    const char* const ranked_by = used_.count(metric::kKl) != 0 ? metric::kKl : metric::kPerplexity;
    for (const MetricInfo& info : report.metrics) {
      if (used_.count(info.name) == 0) continue;
      add({.id = info.name,
           .title = info.title,
           .unit = info.unit,
           .description = info.description,
           .number = true,
           .shown = kShown.count(info.name) != 0});
      if (info.name == metric::kBitsPerWeight && nominal) {
        add({.id = "nominal_bits",
             .title = "nominal",
             .unit = "bits",
             .description = "bits of the codes alone, as papers quote them: without codebooks, scales and zero points",
             .number = true});
      }
      if (info.name == ranked_by) {
        add({.id = "difference",
             .title = "Δ to best",
             .unit = "nats/token",
             .description = "paired difference to the best of its budget, with its interval",
             .number = true});
      }
    }
    for (const std::string& key : report.params) {
      if (key == "method" || key == "preset" || params_.count(key) == 0) continue;
      add({.id = "param_" + plain_id(key),
           .title = key.substr(key.rfind('.') + 1),
           .unit = "",
           .description = "swept key " + key,
           .number = true});
      keys_.push_back(key);
    }
    if (repeats_) {
      add({.id = "repeats",
           .title = "trials",
           .unit = "",
           .description = "repeats; values are their medians",
           .number = true});
    }
    add({.id = "trial", .title = "trial", .unit = "", .description = "start of the trial's id"});
  }

  MainTable build() {
    for (size_t i = 0; i < group_.entries.size(); ++i) {
      if (group_.entries[i].baseline) row(i, "unquantised", "baseline", nullptr);
    }
    for (const Budget& budget : group_.budgets) {
      for (const Standing& standing : budget.standings) {
        row(standing.entry, budget.title, verdict_word(standing.verdict), &standing);
      }
    }
    return std::move(table_);
  }

 private:
  void add(ReportColumn column) { table_.columns.push_back(std::move(column)); }

  void row(size_t index, const std::string& budget, const std::string& verdict, const Standing* standing) {
    const Entry& entry = group_.entries[index];
    ReportRow row{.entry = index, .budget = budget, .verdict = verdict, .cells = {}};
    size_t key = 0;
    for (const ReportColumn& column : table_.columns) {
      ReportCell cell;
      if (column.id == "verdict") {
        cell.text = verdict_text(verdict);
      } else if (column.id == "budget") {
        cell.text = budget;
      } else if (column.id == "configuration") {
        cell.text = entry.title;
      } else if (column.id == "preset") {
        cell.text = entry.preset;
      } else if (column.id.rfind("param_", 0) == 0) {
        const auto found = entry.params.find(keys_[key++]);
        if (found != entry.params.end()) {
          cell.text = found->second;
          char* end = nullptr;
          const double number = std::strtod(cell.text.c_str(), &end);
          if (!cell.text.empty() && *end == '\0') cell.value = number;
        }
      } else if (column.id == "nominal_bits") {
        cell = {.text = std::isnan(entry.nominal_bits) ? "–" : metric_text("nominal_bits", entry.nominal_bits),
                .value = entry.nominal_bits};
      } else if (column.id == "difference") {
        if (standing != nullptr && standing->difference) {
          const PairedDifference& d = *standing->difference;
          cell = {.text = interval_text(d.mean, d.low, d.high, true), .value = d.mean};
        }
      } else if (column.id == "repeats") {
        cell = {.text = std::to_string(entry.trials.size()), .value = static_cast<double>(entry.trials.size())};
      } else if (column.id == "trial") {
        cell.text = report_.data->rows[entry.trials.front()].id.substr(0, 12);
        if (entry.trials.size() > 1) cell.text += fmt::format(" +{}", entry.trials.size() - 1);
      } else {
        cell = metric_cell(entry, column.id);
      }
      row.cells.push_back(std::move(cell));
    }
    table_.rows.push_back(std::move(row));
  }

  const Report& report_;
  const Group& group_;
  MainTable table_;
  std::set<std::string> used_, params_;
  std::vector<std::string> keys_;
  bool repeats_ = false;
};

std::string measure_text(const Report& report, const Entry& entry, const std::string& name) {
  const Measured* measured = entry.find(name);
  const MetricInfo* info = report.find_metric(name);
  if (measured == nullptr || info == nullptr) return {};
  std::string text = info->title + " " + metric_text(name, measured->value);
  if (std::isfinite(measured->low) && std::isfinite(measured->high)) {
    text += fmt::format(" [{}, {}]", metric_text(name, measured->low), metric_text(name, measured->high));
  }
  if (!info->unit.empty()) text += " " + info->unit;
  return text;
}

std::string joined_titles(const std::vector<std::string>& titles) {
  std::string text;
  for (size_t i = 0; i < titles.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == titles.size() ? " and " : ", ") + titles[i];
  }
  return text;
}

}  // namespace

MainTable main_table(const Report& report, const Group& group) { return Builder(report, group).build(); }

std::string verdict_text(const std::string& verdict) {
  if (verdict == "best") return "★ best";
  if (verdict == "tie") return "≈ tie";
  if (verdict == "unknown") return "? not known";
  if (verdict == "baseline") return "reference";
  return "worse";
}

Headline headline(const Report& report, const Group& group, const Budget& budget) {
  Headline out;
  if (!budget.has_best()) {
    out.badge = "no number";
    out.reason = "No trial of this budget has a number to rank by; the table and the list of failures say why.";
    return out;
  }
  const Entry& best = group.entries[budget.standings.front().entry];
  const std::vector<size_t> ties = budget.ties();
  std::vector<std::string> titles = {best.title};
  for (size_t tie : ties) titles.push_back(group.entries[tie].title);
  const bool many = titles.size() > 4;
  if (many) {
    const size_t rest = titles.size() - 3;
    titles.resize(3);
    titles.push_back(fmt::format("{} more", rest));
  }
  out.best = joined_titles(titles);
  out.measure = measure_text(report, best, budget.metric);
  if (budget.metric != metric::kPerplexity) out.perplexity = measure_text(report, best, metric::kPerplexity);
  if (group.baseline && !out.perplexity.empty()) {
    const double base = group.entries[*group.baseline].value(metric::kPerplexity);
    if (std::isfinite(base)) out.perplexity += fmt::format("; unquantised {}", metric_text(metric::kPerplexity, base));
  }
  out.bits = metric_text(metric::kBitsPerWeight, best.value(metric::kBitsPerWeight)) + " bits audited";
  if (!std::isnan(best.nominal_bits))
    out.bits += fmt::format(", {} nominal", metric_text("nominal_bits", best.nominal_bits));
  out.command = report.data->rows[best.trials.front()].command;
  const auto describe = [&](const Standing& standing) {
    const PairedDifference& d = *standing.difference;
    return fmt::format("{} nats/token of {} ({} % interval, {} over {} blocks of text, {})",
                       interval_text(d.mean, d.low, d.high, true), budget.metric == metric::kKl ? "KL" : "loss",
                       significant(budget.confidence * 100, budget.confidence > 0.99 ? 4 : 3), d.method, d.num_blocks,
                       p_text(d.p_value));
  };
  if (!ties.empty()) {
    out.badge = "tie";
    const Standing& first = budget.standings[1].verdict == Verdict::kTie
                                ? budget.standings[1]
                                : *std::find_if(budget.standings.begin(), budget.standings.end(),
                                                [](const Standing& s) { return s.verdict == Verdict::kTie; });
    out.reason = fmt::format("A tie: {} has the lowest number, but {} is behind by {}, which may be chance.",
                             best.title, group.entries[first.entry].title, describe(first));
    const auto next = std::find_if(budget.standings.begin(), budget.standings.end(),
                                   [](const Standing& s) { return s.verdict == Verdict::kWorse && s.difference; });
    if (next != budget.standings.end()) {
      out.reason +=
          fmt::format(" Really worse: from {} on ({}).", group.entries[next->entry].title,
                      interval_text(next->difference->mean, next->difference->low, next->difference->high, true));
    }
    return out;
  }
  if (budget.standings.size() == 1) {
    out.badge = "only one";
    out.reason = "Nothing else was tried within this budget.";
    return out;
  }
  const size_t at = budget.next_method(group.entries).value_or(1);
  const Standing& next = budget.standings[at];
  const Entry& rival = group.entries[next.entry];
  const std::string whom =
      fmt::format("{} {}", rival.method == best.method ? "next best:" : "next method:", rival.title);
  const bool known = std::none_of(budget.standings.begin(), budget.standings.end(),
                                  [](const Standing& s) { return s.verdict == Verdict::kUnknown; });
  if (!known) {
    out.badge = "not known";
    out.reason = fmt::format(
        "Lowest number; {} {}. Whether the difference is real cannot be told: these results hold no values per window.",
        whom, measure_text(report, rival, budget.metric));
    return out;
  }
  out.badge = "clear";
  out.reason = next.difference ? fmt::format("Real: {}, {}.", whom, describe(next))
                               : fmt::format("Real: {} gives no number.", whom);
  return out;
}

}  // namespace aqlm_exp::analysis
