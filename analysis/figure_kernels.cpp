// Evidence behind the choice of kernels: what each candidate took, and where the time of decoding went. Workers file it
// as provenance/kernels/<format>_<out>x<in>_b<batch>/... and timing/kernels/<kernel>/share.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/figures.h"
#include "analysis/number_text.h"
#include "analysis/plot/bars.h"
#include "analysis/provenance_table.h"

namespace aqlm_exp::analysis {
namespace {

constexpr size_t kMaxFigures = 8;  // formats
constexpr size_t kMaxShapes = 8;   // of one format
constexpr std::string_view kPrefix = "kernels/";

struct Candidate {
  std::string verdict;
  double time_us = results::kAbsent, rel_error = results::kAbsent, resident_bytes = results::kAbsent;
};
struct Choice {
  std::string shape;
  double tolerance = results::kAbsent;
  std::map<std::string, Candidate> candidates;
};

double as_number(const results::Value& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return static_cast<double>(*integer);
  if (const auto* number = std::get_if<double>(&value)) return *number;
  return results::kAbsent;
}

/// "aqlm_2x7_g8_1024x256_b1" → format "aqlm 2x7 g8" and shape "1024 x 256, batch 1".
std::pair<std::string, std::string> split_place(const std::string& place) {
  const size_t batch = place.rfind("_b"), shape = batch == std::string::npos ? batch : place.rfind('_', batch - 1);
  if (shape == std::string::npos) return {place, place};
  std::string format = place.substr(0, shape), size = place.substr(shape + 1, batch - shape - 1);
  std::replace(format.begin(), format.end(), '_', ' ');
  const size_t times = size.find('x');
  if (times != std::string::npos) size.replace(times, 1, " x ");
  return {format, fmt::format("{}, batch {}", size, place.substr(batch + 2))};
}

/// By format, then by shape, of all entries; what several trials measured is shown as the first one did.
std::map<std::string, std::vector<Choice>> gather(const Report& report, const Group& group) {
  std::map<std::string, std::map<std::string, Choice>> all;
  std::set<std::string> done;
  for (const Entry& entry : group.entries) {
    std::set<std::string> own;
    for (const auto& [key, value] : report.data->rows[entry.trials.front()].record->provenance) {
      if (key.rfind(kPrefix, 0) != 0) continue;
      const std::string rest = key.substr(kPrefix.size());
      const size_t first = rest.find('/');
      if (first == std::string::npos) continue;
      const std::string place = rest.substr(0, first);
      if (done.count(place) != 0) continue;
      own.insert(place);
      const auto [format, shape] = split_place(place);
      Choice& choice = all[format][place];
      choice.shape = shape;
      const size_t second = rest.find('/', first + 1);
      if (second == std::string::npos) {
        if (rest.substr(first + 1) == "tolerance") choice.tolerance = as_number(value);
        continue;
      }
      Candidate& candidate = choice.candidates[rest.substr(first + 1, second - first - 1)];
      const std::string what = rest.substr(second + 1);
      if (what == "verdict") candidate.verdict = value_text(value);
      if (what == "time_us") candidate.time_us = as_number(value);
      if (what == "rel_error") candidate.rel_error = as_number(value);
      if (what == "resident_bytes") candidate.resident_bytes = as_number(value);
    }
    done.insert(own.begin(), own.end());
  }
  std::map<std::string, std::vector<Choice>> formats;
  for (auto& [format, places] : all) {
    for (auto& [place, choice] : places) formats[format].push_back(std::move(choice));
  }
  return formats;
}

plot::Figure draw_format(const Group& group, const std::string& format, const std::vector<Choice>& choices,
                         size_t number) {
  plot::BarsSpec spec;
  spec.id = fmt::format("{}-kernels-{}", group.id, number);
  spec.title = "Candidates for " + format;
  spec.x = {"time of one call", "µs"};
  spec.data.columns = {
      {"shape"}, {"candidate"}, {"verdict"}, {"time [µs]", true}, {"relative error", true}, {"resident [KiB]", true}};
  size_t drawn = 0;
  for (const Choice& choice : choices) {
    std::vector<std::pair<std::string, Candidate>> order(choice.candidates.begin(), choice.candidates.end());
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      const double x = a.second.time_us, y = b.second.time_us;
      return std::isnan(y) ? !std::isnan(x) : x < y;
    });
    const bool draw = drawn++ < kMaxShapes;
    if (draw) {
      plot::Bar heading;
      heading.heading = choice.shape;
      spec.bars.push_back(std::move(heading));
    }
    for (const auto& [name, candidate] : order) {
      const bool timed = !std::isnan(candidate.time_us);
      spec.data.rows.push_back(
          {choice.shape, name, candidate.verdict, timed ? significant(candidate.time_us, 3) : "–",
           std::isnan(candidate.rel_error) ? "–" : significant(candidate.rel_error, 2),
           std::isnan(candidate.resident_bytes) ? "–" : significant(candidate.resident_bytes / 1024, 4)});
      if (!draw) continue;
      plot::Bar bar;
      bar.label = name;
      bar.value = candidate.time_us;
      bar.chosen = candidate.verdict == "chosen";
      bar.text = timed ? significant(candidate.time_us, 3) + (bar.chosen ? " chosen" : "") : candidate.verdict;
      bar.tip = fmt::format("{}\n{}\nrelative error {}", name, candidate.verdict,
                            std::isnan(candidate.rel_error) ? "not measured" : significant(candidate.rel_error, 2));
      if (bar.text.size() > 40) bar.text = "refused";
      spec.bars.push_back(std::move(bar));
    }
  }
  spec.caption =
      "Measured on the model's own shapes before the choice; who is numerically off is out, whatever its speed.";
  if (drawn > kMaxShapes) spec.caption += fmt::format(" {} further shapes are in the data table.", drawn - kMaxShapes);
  return plot::draw_bars(spec);
}

/// Where decoding spends its time, for the entries that were profiled.
std::vector<plot::Figure> shares(const Report& report, const Group& group) {
  plot::BarsSpec spec;
  spec.id = group.id + "-kernel-shares";
  spec.title = "Where the time of decoding goes";
  spec.x = {"share of decoding", "%"};
  spec.caption = "Shares of the kernels of one decoding run; the widest first.";
  spec.data.columns = {{"configuration"}, {"kernel"}, {"share [%]", true}};
  size_t entries = 0;
  for (const Entry& entry : group.entries) {
    std::vector<std::pair<double, std::string>> kernels;
    for (const auto& [key, value] : report.data->rows[entry.trials.front()].record->timing) {
      const size_t slash = key.rfind("/share");
      if (key.rfind(kPrefix, 0) != 0 || slash == std::string::npos) continue;
      kernels.emplace_back(100 * as_number(value), key.substr(kPrefix.size(), slash - kPrefix.size()));
    }
    if (kernels.empty()) continue;
    std::stable_sort(kernels.begin(), kernels.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    const bool draw = entries++ < kMaxShapes;
    if (draw) {
      plot::Bar heading;
      heading.heading = entry.title;
      spec.bars.push_back(std::move(heading));
    }
    for (const auto& [share, name] : kernels) {
      spec.data.rows.push_back({entry.title, name, significant(share, 3)});
      if (!draw || (share < 1 && spec.bars.size() > 4)) continue;
      plot::Bar bar;
      bar.label = name;
      bar.value = share;
      bar.chosen = true;
      bar.series = series_of(report, entry.method);
      bar.text = significant(share, 3);
      spec.bars.push_back(std::move(bar));
    }
  }
  if (entries == 0) return {};
  return {plot::draw_bars(spec)};
}

}  // namespace

FigureSection kernel_figures(const Report& report, const Group& group) {
  FigureSection section;
  section.title = "How kernels were chosen";
  std::set<std::string> backends;
  for (const Entry& entry : group.entries) {
    const std::string backend(report.data->rows[entry.trials.front()].record->find_label("backend"));
    if (!backend.empty()) backends.insert(backend);
  }
  const auto formats = gather(report, group);
  for (const auto& [format, choices] : formats) {
    if (section.figures.size() == kMaxFigures) break;
    section.figures.push_back(draw_format(group, format, choices, section.figures.size()));
  }
  if (formats.size() > section.figures.size()) {
    section.missing = fmt::format("{} further formats are in the result files (provenance/kernels).",
                                  formats.size() - section.figures.size());
  }
  for (plot::Figure& figure : shares(report, group)) section.figures.push_back(std::move(figure));
  if (formats.empty()) {
    std::string names;
    for (const std::string& backend : backends) names += (names.empty() ? "" : ", ") + backend;
    section.missing = fmt::format(
        "These results hold no timings of candidate kernels: the backend ({}) was named in the configuration. "
        "backend=auto measures the candidates and keeps what it saw.",
        names.empty() ? "not recorded" : names);
  }
  return section;
}

}  // namespace aqlm_exp::analysis
