// A difference as text for a terminal and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/diff.h"
#include "analysis/number_text.h"
#include "analysis/text_table.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::analysis {
namespace {

using Json = nlohmann::ordered_json;

std::string side(const char* name, const Dataset& data) {
  std::string text = fmt::format("{}  ", name);
  for (const Source& source : data.sources) text += printable(source.path) + " ";
  return text + fmt::format("({} trial{})\n", data.rows.size(), data.rows.size() == 1 ? "" : "s");
}

std::string shown(const std::string& value) { return value.empty() ? "–" : shortened(printable(value), 48); }

/// One class of cause over all pairs: each change once, with the number of pairs it stands in.
std::string cause_text(const char* title, const Diff& diff, std::vector<FieldChange> Causes::*member) {
  std::vector<std::pair<FieldChange, size_t>> changes;
  size_t pairs = 0;
  for (const PairDiff& pair : diff.pairs) {
    const std::vector<FieldChange>& own = pair.causes.*member;
    pairs += own.empty() ? 0 : 1;
    for (const FieldChange& change : own) {
      const auto found =
          std::find_if(changes.begin(), changes.end(), [&](const auto& item) { return item.first == change; });
      if (found == changes.end()) {
        changes.emplace_back(change, 1);
      } else {
        ++found->second;
      }
    }
  }
  if (changes.empty()) return fmt::format("{}: the same\n", title);
  std::string text = fmt::format("{}: changed in {} of {} pairs\n", title, pairs, diff.pairs.size());
  constexpr size_t kMost = 12;
  for (size_t i = 0; i < std::min(changes.size(), kMost); ++i) {
    const auto& [change, count] = changes[i];
    text += fmt::format("    {}: {} → {}{}\n", printable(change.key), shown(change.a), shown(change.b),
                        count == diff.pairs.size() ? "" : fmt::format("  ({})", count));
  }
  if (changes.size() > kMost) text += fmt::format("    and {} more (--json lists them)\n", changes.size() - kMost);
  return text;
}

std::string commits(const Diff& diff) {
  for (const PairDiff& pair : diff.pairs) {
    for (const FieldChange& change : pair.causes.code) {
      if (change.key == "git/commit" && change.a.size() >= 12 && change.b.size() >= 12) {
        return fmt::format("    see: git log -p {}..{}\n", change.a.substr(0, 12), change.b.substr(0, 12));
      }
    }
  }
  return {};
}

/// A number that one side lacks is a dash; NaN that was measured is NaN.
std::string side_value(const MetricChange& change, bool is_a) {
  const bool absent = change.why == (is_a ? "only in B" : "only in A");
  return absent ? "–" : metric_text(change.metric, is_a ? change.a : change.b);
}

std::string delta(const MetricChange& change) {
  if (change.difference) {
    const PairedDifference& d = *change.difference;
    return interval_text(d.mean, d.low, d.high, true) + (change.metric == results::metric::kPerplexity ? " nats" : "");
  }
  if (std::isnan(change.a) || std::isnan(change.b)) return "–";
  const double ratio = change.a != 0 ? (change.b - change.a) / std::abs(change.a) * 100 : results::kAbsent;
  return std::isfinite(ratio) ? fmt::format("{}{} %", ratio > 0 ? "+" : "", significant(ratio, 3))
                              : significant(change.b - change.a, 3);
}

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json changes_json(const std::vector<FieldChange>& changes) {
  Json json = Json::array();
  for (const FieldChange& change : changes) {
    json.push_back({{"key", utf8_replace_invalid(change.key)},
                    {"a", utf8_replace_invalid(change.a)},
                    {"b", utf8_replace_invalid(change.b)}});
  }
  return json;
}

}  // namespace

std::string diff_text(const Diff& diff, const Dataset& a, const Dataset& b, size_t width, bool all) {
  std::string text = side("A", a) + side("B", b);
  if (diff.pairs.empty()) {
    text += "No completed trial of A has a partner in B.\n";
  } else {
    text += cause_text("config", diff, &Causes::config);
    text += cause_text("code", diff, &Causes::code) + commits(diff);
    text += cause_text("machine", diff, &Causes::machine);
  }
  std::map<Change, size_t> counts;
  TextTable table({{.title = "trial", .importance = 90, .shrinks = true},
                   {.title = "metric", .importance = 100},
                   {.title = "A", .align = Align::kRight, .importance = 80},
                   {.title = "B", .align = Align::kRight, .importance = 80},
                   {.title = "B − A", .align = Align::kRight, .importance = 95},
                   {.title = "", .importance = 99},
                   {.title = "because of", .importance = 70, .shrinks = true}});
  for (const PairDiff& pair : diff.pairs) {
    for (const MetricChange& change : pair.metrics) {
      ++counts[change.change];
      if (change.change == Change::kEqual && !all) continue;
      if (change.change == Change::kNoise && !all) continue;
      table.add_row({pair.title, change.metric, side_value(change, true), side_value(change, false),
                     change.change == Change::kEqual ? "" : delta(change), change_name(change.change), change.why},
                    change.change == Change::kUnexplained);
    }
  }
  const size_t total = diff.pairs.size();
  text +=
      fmt::format("{} pair(s): {} numbers equal, {} differ by noise, {} really, {} cannot be judged, {} unexplained\n",
                  total, counts[Change::kEqual], counts[Change::kNoise], counts[Change::kReal],
                  counts[Change::kUnknown], counts[Change::kUnexplained]);
  if (counts[Change::kReal] + counts[Change::kUnknown] + counts[Change::kUnexplained] > 0 || all) {
    text += "\n" + table.str(width, false);
  }
  const bool several =
      std::any_of(diff.pairs.begin(), diff.pairs.end(), [](const PairDiff& p) { return p.causes.count() > 1; });
  if (several && counts[Change::kReal] > 0) {
    text +=
        "\nMore than one of config, code and machine changed: which of them it was, only a run with one change at a "
        "time tells.\n";
  }
  if (counts[Change::kUnexplained] > 0) {
    text +=
        "\nUnexplained: a number that must be the same differs. The program or the machine is not deterministic; "
        "please report it.\n";
  }
  for (const std::string& line : diff.unfinished) text += "no result: " + printable(line) + "\n";
  const auto list = [&](const char* name, const std::vector<size_t>& rows, const Dataset& data) {
    if (rows.empty()) return;
    text += fmt::format("{} trial(s) only in {}:\n", rows.size(), name);
    for (size_t i = 0; i < std::min<size_t>(rows.size(), 10); ++i) {
      text += fmt::format("    {}  {}\n", data.rows[rows[i]].id.substr(0, 12), printable(data.rows[rows[i]].name));
    }
    if (rows.size() > 10) text += fmt::format("    and {} more\n", rows.size() - 10);
  };
  list("A", diff.only_a, a);
  list("B", diff.only_b, b);
  return text;
}

std::string diff_json(const Diff& diff, const Dataset& a, const Dataset& b) {
  Json json;
  json["format"] = "aqlm-exp-diff";
  json["format_version"] = 1;
  json["pairs"] = Json::array();
  for (const PairDiff& pair : diff.pairs) {
    Json one;
    one["a"] = a.rows[pair.row_a].id;
    one["b"] = b.rows[pair.row_b].id;
    one["title"] = utf8_replace_invalid(pair.title);
    one["config"] = changes_json(pair.causes.config);
    one["code"] = changes_json(pair.causes.code);
    one["machine"] = changes_json(pair.causes.machine);
    one["metrics"] = Json::object();
    for (const MetricChange& change : pair.metrics) {
      Json metric = {{"a", number(change.a)},
                     {"b", number(change.b)},
                     {"change", change_name(change.change)},
                     {"why", change.why}};
      if (change.difference) {
        metric["difference"] = {{"mean", change.difference->mean},
                                {"low", change.difference->low},
                                {"high", change.difference->high},
                                {"p_value", change.difference->p_value}};
      }
      one["metrics"][change.metric] = std::move(metric);
    }
    json["pairs"].push_back(std::move(one));
  }
  json["only_a"] = Json::array();
  json["only_b"] = Json::array();
  for (size_t row : diff.only_a) json["only_a"].push_back(a.rows[row].id);
  for (size_t row : diff.only_b) json["only_b"].push_back(b.rows[row].id);
  json["unfinished"] = Json::array();
  for (const std::string& line : diff.unfinished) json["unfinished"].push_back(utf8_replace_invalid(line));
  return json.dump(2) + "\n";
}

}  // namespace aqlm_exp::analysis
