#include "analysis/final_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/text_table.h"

namespace aqlm_exp::analysis {
namespace {

namespace metric = results::metric;
namespace label = results::label;
using results::TrialRecord;

constexpr double kBudgetSlack = 1e-9;  // 2.25 is within 2.25 whatever the last bit of a division

double value_of(const TrialRecord& record, const char* name) {
  const results::Metric* found = record.find_metric(name);
  return found != nullptr ? found->value : results::kAbsent;
}

bool is_baseline(const TrialRecord& record) { return record.find_label(label::kMethod) == "none"; }

std::string method_name(const TrialRecord& record) {
  const std::string name(record.find_label(label::kMethod));
  static const std::map<std::string, std::string> kNames = {
      {"aqlm", "AQLM"}, {"gptq", "GPTQ"}, {"awq", "AWQ"}, {"hqq", "HQQ"}, {"rtn", "RTN"}, {"none", "unquantised"}};
  const auto found = kNames.find(name);
  return found != kNames.end() ? found->second : name.empty() ? record.name : name;
}

std::string number(double value, int digits) { return std::isnan(value) ? "–" : fmt::format("{:.{}f}", value, digits); }

/// NaN that was measured is shown; a metric that was not taken is a dash.
std::string metric_text(const TrialRecord& record, const char* name, int digits, double factor = 1) {
  const results::Metric* found = record.find_metric(name);
  if (found == nullptr) return "–";
  if (std::isnan(found->value)) return "NaN";
  if (std::isinf(found->value)) return found->value > 0 ? "inf" : "-inf";
  return number(found->value * factor, digits);
}

/// Four significant digits at least, so that 15.78 and 4218.3 both read well.
std::string perplexity_text(const TrialRecord& record) {
  const double value = value_of(record, metric::kPerplexity);
  return metric_text(record, metric::kPerplexity, value >= 1000 ? 0 : value >= 100 ? 1 : value >= 10 ? 2 : 3);
}

/// Smaller first, NaN last; ties by perplexity, bits, then id, so that the order is always the same.
class Ranking {
 public:
  explicit Ranking(const std::vector<const TrialRecord*>& rows) {
    by_kl_ = std::all_of(rows.begin(), rows.end(),
                         [](const TrialRecord* row) { return row->find_metric(metric::kKl) != nullptr; });
  }
  bool by_kl() const { return by_kl_; }
  double key(const TrialRecord& row) const { return value_of(row, by_kl_ ? metric::kKl : metric::kPerplexity); }
  bool operator()(const TrialRecord* a, const TrialRecord* b) const {
    const auto before = [](double x, double y) { return std::isnan(y) ? !std::isnan(x) : x < y; };
    for (const char* name : {by_kl_ ? metric::kKl : metric::kPerplexity, metric::kPerplexity, metric::kBitsPerWeight}) {
      const double x = value_of(*a, name), y = value_of(*b, name);
      if (before(x, y)) return true;
      if (before(y, x)) return false;
    }
    return a->id < b->id;
  }

 private:
  bool by_kl_ = false;
};

/// Swept keys that tell rows apart which look alike otherwise.
std::map<const TrialRecord*, std::string> distinctions(const std::vector<const TrialRecord*>& rows) {
  std::map<std::string, std::vector<const TrialRecord*>> alike;
  for (const TrialRecord* row : rows) {
    alike[fmt::format("{}\n{}\n{}", row->find_label(label::kMethod), row->find_label(label::kSetting),
                      row->find_label(label::kPreset))]
        .push_back(row);
  }
  std::map<const TrialRecord*, std::string> texts;
  for (const auto& [key, group] : alike) {
    if (group.size() < 2) continue;
    std::map<std::string, size_t> count;
    for (const TrialRecord* row : group) {
      for (const std::string& text : std::set<std::string>(row->overrides.begin(), row->overrides.end())) ++count[text];
    }
    for (const TrialRecord* row : group) {
      for (const std::string& text : row->overrides) {
        if (count[text] < group.size()) texts[row] += " " + text;
      }
    }
  }
  return texts;
}

std::string table_of(const std::vector<const TrialRecord*>& rows, const TableOptions& options) {
  TextTable table({{.title = "method", .importance = 100},
                   {.title = "setting", .importance = 90, .shrinks = true},
                   {.title = "preset", .importance = 40, .shrinks = true},
                   {.title = "bits", .align = Align::kRight, .importance = 95},
                   {.title = "perplexity", .align = Align::kRight, .importance = 99},
                   {.title = "KL", .align = Align::kRight, .importance = 98},
                   {.title = "top-1 %", .align = Align::kRight, .importance = 60},
                   {.title = "tokens/s", .align = Align::kRight, .importance = 50},
                   {.title = "MiB", .align = Align::kRight, .importance = 30},
                   {.title = "quantise s", .align = Align::kRight, .importance = 20},
                   {.title = "", .importance = 97}});
  const auto extra = distinctions(rows);
  const auto add = [&](const TrialRecord& row, bool best) {
    const auto found = extra.find(&row);
    table.add_row(
        {method_name(row), std::string(row.find_label(label::kSetting)) + (found != extra.end() ? found->second : ""),
         std::string(row.find_label(label::kPreset)), metric_text(row, metric::kBitsPerWeight, 2), perplexity_text(row),
         metric_text(row, metric::kKl, 4), metric_text(row, metric::kTop1Agreement, 1, 100),
         metric_text(row, metric::kDecodeTokensPerS, 1), metric_text(row, metric::kModelMib, 2),
         is_baseline(row) ? "–" : metric_text(row, metric::kQuantiseS, 1), best ? "*" : ""},
        best);
  };
  std::map<size_t, std::vector<const TrialRecord*>> budgets;
  std::set<std::string> hardware;
  for (const TrialRecord* row : rows) {
    hardware.insert(std::string(row->find_label(label::kHardware)));
    if (is_baseline(*row)) {
      add(*row, false);
    } else {
      budgets[budget_of(value_of(*row, metric::kBitsPerWeight), options.budgets)].push_back(row);
    }
  }
  std::string ranked_by;
  for (auto& [budget, members] : budgets) {
    const Ranking ranking(members);
    std::sort(members.begin(), members.end(), ranking);
    table.add_heading(budget < options.budgets.size() ? fmt::format("≤ {} bits", options.budgets[budget])
                      : options.budgets.empty()       ? std::string("all")
                                                      : fmt::format("> {} bits", options.budgets.back()));
    for (const TrialRecord* row : members) {
      add(*row, row == members.front() && !std::isnan(ranking.key(*row)));
    }
    const std::string measure = ranking.by_kl() ? "KL" : "perplexity";
    if (ranked_by.find(measure) == std::string::npos) ranked_by += (ranked_by.empty() ? "" : " or ") + measure;
  }
  std::string text = table.str(options.width, options.bold);
  if (!ranked_by.empty())
    text += fmt::format("* lowest {} of its bit budget; bits are audited, over the quantised linears\n", ranked_by);
  if (hardware.size() > 1) text += "tokens/s were measured on different hardware and do not compare\n";
  return text;
}

}  // namespace

size_t budget_of(double bits, const std::vector<double>& budgets) {
  for (size_t i = 0; i < budgets.size(); ++i) {
    if (bits <= budgets[i] + kBudgetSlack) return i;
  }
  return budgets.size();
}

std::string convention_text(const results::TrialRecord& record) {
  const results::Metric* perplexity = record.find_metric(metric::kPerplexity);
  if (perplexity == nullptr) return {};
  const std::string tag = fmt::format("{}: ", record.find_label(label::kConvention));
  return perplexity->description.starts_with(tag) ? perplexity->description.substr(tag.size())
                                                  : perplexity->description;
}

std::string final_table(const std::vector<TrialRecord>& records, const std::vector<results::Sidecar>& failures,
                        const TableOptions& options) {
  // First-seen order, so that the tables follow the plan.
  std::vector<std::pair<std::string, std::vector<const TrialRecord*>>> groups;
  for (const TrialRecord& record : records) {
    const std::string key =
        fmt::format("{}\n{}", record.find_label(label::kModel), record.find_label(label::kConvention));
    auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == key; });
    if (found == groups.end()) found = groups.insert(groups.end(), {key, {}});
    found->second.push_back(&record);
  }
  std::string text;
  for (const auto& [key, rows] : groups) {
    const TrialRecord& first = *rows.front();
    std::string caption = printable(first.find_label(label::kModel));
    caption +=
        fmt::format("{}perplexity by {}", caption.empty() ? "" : ": ", printable(first.find_label(label::kConvention)));
    if (const std::string how = convention_text(first); !how.empty()) caption += fmt::format(" ({})", printable(how));
    text += caption + "; KL in nats/token to the unquantised model\n" + table_of(rows, options) + "\n";
  }
  if (groups.size() > 1) text += "Tables of different models or conventions do not compare with one another.\n\n";
  if (!failures.empty()) {
    text += fmt::format("{} trial(s) without a result:\n", failures.size());
    for (const results::Sidecar& failure : failures) {
      text += fmt::format("  {}  {}  {}: {}\n", failure.id.substr(0, 12), printable(failure.name),
                          failure.failure_class, printable(failure.message));
    }
  }
  return text;
}

}  // namespace aqlm_exp::analysis
