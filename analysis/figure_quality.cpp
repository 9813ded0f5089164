// Quality against what it costs; differences to the best.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "analysis/figures.h"
#include "analysis/number_text.h"
#include "analysis/plot/forest.h"
#include "analysis/plot/scatter.h"

namespace aqlm_exp::analysis {
namespace {

namespace metric = results::metric;

constexpr size_t kFullData = 60;    // data tables of larger groups hold the front only
constexpr size_t kForestRows = 12;  // of one budget

std::string cell(const std::string& name, double value) { return std::isnan(value) ? "–" : metric_text(name, value); }

/// The scatter of `y_name` against `x_name`; nothing drawn when less than two entries have both.
std::vector<plot::Figure> tradeoff(const Report& report, const Group& group, const std::string& x_name,
                                   const std::string& y_name, const std::string& what, bool log_x,
                                   const std::string& note) {
  const MetricInfo* x_info = report.find_metric(x_name);
  const MetricInfo* y_info = report.find_metric(y_name);
  if (x_info == nullptr || y_info == nullptr) return {};
  const bool higher = x_info->direction == results::Direction::kMax;
  std::vector<const Entry*> entries;
  std::vector<double> xs, ys;
  for (const Entry& entry : group.entries) {
    if (entry.baseline || entry.find(x_name) == nullptr || entry.find(y_name) == nullptr) continue;
    entries.push_back(&entry);
    xs.push_back(entry.value(x_name));
    ys.push_back(entry.value(y_name));
  }
  if (entries.size() < 2) return {};
  const std::vector<bool> front = pareto_front(xs, ys, higher);
  plot::ScatterSpec spec;
  spec.id = fmt::format("{}-{}-{}", group.id, y_name, x_name);
  std::replace(spec.id.begin(), spec.id.end(), '_', '-');
  spec.title = fmt::format("{} against {}", y_name == metric::kKl ? "KL divergence" : "Perplexity", what);
  spec.x = {what, x_info->unit};
  spec.y = {y_name == metric::kKl ? "KL to the unquantised model" : "perplexity", y_info->unit};
  spec.log_x = log_x;
  spec.log_y = true;
  spec.x_higher_is_better = higher;
  spec.series = series_names(report);
  const bool full = entries.size() <= kFullData;
  spec.data.columns = {{"configuration"},
                       {plot::axis_title(spec.x), true},
                       {plot::axis_title(spec.y), true},
                       {"interval", true},
                       {"front"}};
  std::vector<size_t> on_front;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = *entries[i];
    const Measured &x = *entry.find(x_name), &y = *entry.find(y_name);
    spec.points.push_back({.x = x.value,
                           .y = y.value,
                           .x_low = x.low,
                           .x_high = x.high,
                           .y_low = y.low,
                           .y_high = y.high,
                           .series = series_of(report, entry.method),
                           .label = entry.title,
                           .tip = entry_tip(report, entry),
                           .key = entry.key,
                           .front = front[i]});
    if (full || front[i]) {
      spec.data.rows.push_back(
          {entry.title, cell(x_name, x.value), cell(y_name, y.value),
           std::isfinite(y.low) ? fmt::format("{} to {}", cell(y_name, y.low), cell(y_name, y.high)) : "–",
           front[i] ? "yes" : "no"});
    }
    if (front[i]) on_front.push_back(i);
  }
  std::sort(on_front.begin(), on_front.end(), [&](size_t a, size_t b) { return xs[a] < xs[b]; });
  std::string names;
  for (size_t i : on_front) names += (names.empty() ? "" : ", ") + entries[i]->title;
  spec.caption =
      fmt::format("Lower is better{}. On the Pareto front: {}.", higher ? ", and further right" : ", and further left",
                  names.size() > 400 ? "see the table" : names);
  if (!full) spec.caption += " The data table holds the front; all points are in the table of trials.";
  if (group.baseline && y_name == metric::kPerplexity) {
    spec.baseline = group.entries[*group.baseline].value(metric::kPerplexity);
    spec.baseline_text = "unquantised " + metric_text(metric::kPerplexity, spec.baseline);
  }
  if (!note.empty()) spec.caption += " " + note;
  return {plot::draw_scatter(spec)};
}

/// What the vertical bars of a group's pictures mean.
std::string interval_note(const Group& group) {
  const bool repeats = std::any_of(group.entries.begin(), group.entries.end(),
                                   [](const Entry& entry) { return entry.trials.size() > 1; });
  return repeats ? "Bars: range over repeats; 95 % interval of the mean over windows where there is one trial."
                 : "Bars: 95 % interval of the mean over windows. Differences between configurations are known better "
                   "than these bars suggest, as all read the same text.";
}

plot::Figure difference_figure(const Report& report, const Group& group, const Budget& budget, size_t number) {
  plot::ForestSpec spec;
  spec.id = fmt::format("{}-differences-{}", group.id, number);
  spec.title = budget.title;
  spec.x = {budget.metric == metric::kKl ? "KL above the best" : "loss above the best", "nats/token"};
  spec.data.columns = {{"configuration"}, {"difference to best", true}, {"p", true}, {"standing"}};
  size_t left_out = 0, ties = 0, worse = 0;
  for (const Standing& standing : budget.standings) {
    const Entry& entry = group.entries[standing.entry];
    const bool best = standing.verdict == Verdict::kBest;
    if (!best && !standing.difference) continue;
    ties += standing.verdict == Verdict::kTie ? 1 : 0;
    worse += standing.verdict == Verdict::kWorse ? 1 : 0;
    if (spec.rows.size() == kForestRows) {
      ++left_out;
      continue;
    }
    plot::ForestRow row{.label = entry.title, .series = series_of(report, entry.method), .key = entry.key};
    row.tip = entry_tip(report, entry);
    if (best) {
      row.value = 0;
      row.reference = true;
      row.text = "best: " + metric_text(budget.metric, entry.value(budget.metric));
      spec.data.rows.push_back({entry.title, "0", "", "best"});
    } else {
      const PairedDifference& d = *standing.difference;
      row.value = d.mean;
      row.low = d.low;
      row.high = d.high;
      row.tie = standing.verdict == Verdict::kTie;
      row.text = interval_text(d.mean, d.low, d.high, true);
      spec.data.rows.push_back({entry.title, row.text, p_text(d.p_value), row.tie ? "tie with best" : "worse"});
    }
    spec.rows.push_back(std::move(row));
  }
  spec.caption = fmt::format("{} really worse than the best, {} tie with it.", worse, ties);
  if (left_out > 0) spec.caption += fmt::format(" {} further rows are in the table of configurations.", left_out);
  return plot::draw_forest(spec);
}

void append(std::vector<plot::Figure>& to, std::vector<plot::Figure> from) {
  for (plot::Figure& figure : from) to.push_back(std::move(figure));
}

}  // namespace

size_t series_of(const Report& report, const std::string& method) {
  return static_cast<size_t>(std::find(report.methods.begin(), report.methods.end(), method) - report.methods.begin());
}

std::vector<std::string> series_names(const Report& report) {
  std::vector<std::string> names = report.methods;
  for (std::string& name : names) name = method_title(name);
  return names;
}

std::string quality_metric(const Group& group) {
  const bool kl = std::any_of(group.entries.begin(), group.entries.end(),
                              [](const Entry& entry) { return !entry.baseline && entry.find(metric::kKl) != nullptr; });
  return kl ? metric::kKl : metric::kPerplexity;
}

std::string entry_tip(const Report& report, const Entry& entry) {
  std::string tip = entry.title;
  const auto add = [&](const char* name) {
    const Measured* measured = entry.find(name);
    const MetricInfo* info = report.find_metric(name);
    if (measured == nullptr || info == nullptr) return;
    tip += fmt::format("\n{} {}", info->title, metric_text(name, measured->value));
    if (!info->unit.empty()) tip += " " + info->unit;
  };
  add(metric::kBitsPerWeight);
  if (!std::isnan(entry.nominal_bits))
    tip += fmt::format(" ({} nominal)", metric_text("nominal_bits", entry.nominal_bits));
  add(metric::kKl);
  add(metric::kPerplexity);
  add(metric::kDecodeTokensPerS);
  return tip;
}

FigureSection difference_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "What is really better";
  section.width = FigureSection::Width::kThird;
  section.intro =
      "Each configuration minus the best of its bit budget, paired window by window. The whiskers hold for all "
      "comparisons "
      "of a budget together at 95 %: what crosses zero is a tie (hollow mark), what does not is worse.";
  size_t number = 0;
  for (const Budget& budget : group.budgets) {
    const bool known = std::any_of(budget.standings.begin(), budget.standings.end(),
                                   [](const Standing& standing) { return standing.difference.has_value(); });
    if (known && budget.has_best()) section.figures.push_back(difference_figure(report, group, budget, number));
    ++number;
  }
  if (section.figures.empty()) {
    section.missing =
        "Not drawn: this needs two configurations of one budget whose results hold losses per window. Without them no "
        "difference can be told from chance.";
  }
  return section;
}

FigureSection quality_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "Quality against audited bits";
  section.intro =
      "Audited bits count every code, codebook, scale and zero point that is stored. Dominated configurations (another "
      "one is better and no larger) are grey.";
  const std::string note = interval_note(group);
  if (quality_metric(group) == metric::kKl) {
    append(section.figures,
           tradeoff(report, group, metric::kBitsPerWeight, metric::kKl, "audited bits per weight", false, note));
  }
  append(section.figures,
         tradeoff(report, group, metric::kBitsPerWeight, metric::kPerplexity, "audited bits per weight", false, note));
  if (section.figures.empty())
    section.missing = "Nothing to draw: fewer than two quantised configurations have numbers.";
  return section;
}

FigureSection cost_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "Quality against speed, memory and cost";
  section.intro = fmt::format("All measured on {}.", group.hardware);
  const std::string y = quality_metric(group);
  const auto add = [&](const char* x, const char* what, bool log_x, const char* note) {
    append(section.figures, tradeoff(report, group, x, y, what, log_x, note));
  };
  add(metric::kDecodeTokensPerS, "decoding speed", false,
      "Horizontal bars: range over the repeats of the measurement.");
  add("prefill_tokens_per_s", "prompt speed", false, "Horizontal bars: range over the repeats of the measurement.");
  add(report.find_metric("peak_device_mib") != nullptr ? "peak_device_mib" : "peak_host_mib",
      "peak memory of the trial", false, "Peak of the whole trial, quantising included.");
  add(metric::kModelMib, "stored size of the model", false, "");
  add(metric::kQuantiseS, "time to quantise", true, "Calibration statistics, quantisation and fine-tuning.");
  if (section.figures.empty()) section.missing = "Nothing to draw: these trials measured neither speed nor memory.";
  return section;
}

}  // namespace aqlm_exp::analysis
