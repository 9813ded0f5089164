#include "experiments/app/run_report.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/final_table.h"
#include "analysis/text_table.h"
#include "framework/results/publish.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::app {
namespace {

using Json = nlohmann::ordered_json;
using Kind = plan::TrialState::Kind;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

/// "quant.nbits=3" → {"quant.nbits": 3}: numbers, booleans and null keep their type, everything else is text.
Json overrides_object(const std::vector<std::string>& overrides) {
  Json object = Json::object();
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos) continue;
    const std::string value = text.substr(equals + 1);
    const Json parsed = Json::parse(value, nullptr, /*allow_exceptions=*/false);
    object[results::clean_text(text.substr(0, equals))] =
        parsed.is_primitive() && !parsed.is_discarded() ? parsed : Json(results::clean_text(value));
  }
  return object;
}

}  // namespace

std::vector<results::TrialRecord> read_records(const plan::Plan& plan, const plan::OutFolder& out,
                                               const plan::Scan& scan, std::vector<std::string>& unreadable) {
  std::vector<results::TrialRecord> records;
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    if (scan.trials[i].kind != Kind::kCompleted) continue;
    try {
      records.push_back(results::read_published(out.results_dir(), plan.trials[i].id));
    } catch (const StorageError& error) {
      unreadable.push_back(error.what());
    }
  }
  return records;
}

std::string report_table(const plan::Plan& plan, const plan::OutFolder& out, const plan::Scan& scan,
                         const std::vector<double>& budgets, size_t width, bool bold) {
  std::vector<std::string> unreadable;
  const std::vector<results::TrialRecord> records = read_records(plan, out, scan, unreadable);
  std::vector<results::Sidecar> failures;
  for (const plan::TrialState& state : scan.trials) {
    if (state.kind == Kind::kFailed) failures.push_back(*state.sidecar);
  }
  std::string text = analysis::final_table(records, failures, {.budgets = budgets, .width = width, .bold = bold});
  for (const std::string& line : unreadable) text += fmt::format("unreadable: {}\n", analysis::printable(line));
  const int64_t planned = scan.count(Kind::kPlanned);
  if (planned > 0) text += fmt::format("{} trial(s) still to be run\n", planned);
  return text;
}

std::string report_json(const plan::Plan& plan, const plan::OutFolder& out, const plan::Scan& scan,
                        const plan::Outcome& outcome) {
  Json json;
  json["format"] = "aqlm-exp-run";
  json["format_version"] = 1;
  json["out"] = results::clean_text(out.root.string());
  json["config"] = results::clean_text(plan.config_file);
  json["exit_code"] = outcome.signal != 0 ? 128 + outcome.signal : static_cast<int>(outcome.exit_code);
  json["num_trials"] = plan.trials.size();
  json["num_completed"] = scan.count(Kind::kCompleted);
  json["num_reused"] = outcome.progress.num_reused;
  json["num_failed"] = scan.count(Kind::kFailed);
  json["interrupted"] = outcome.signal != 0;
  json["trials"] = Json::array();
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    const plan::PlannedTrial& trial = plan.trials[i];
    const plan::TrialState& state = scan.trials[i];
    Json row;
    row["id"] = trial.id;
    row["status"] = state.sidecar ? state.sidecar->status : "planned";
    row["name"] = results::clean_text(trial.name);
    row["attempt"] = state.sidecar ? state.sidecar->attempt : state.attempts;
    row["overrides"] = overrides_object(trial.overrides);
    row["repeat"] = trial.repeat;
    row["duration_s"] = state.sidecar ? number(state.sidecar->duration_s) : Json(nullptr);
    row["labels"] = Json::object();
    row["metrics"] = Json::object();
    if (state.kind == Kind::kCompleted) {
      try {
        const results::TrialRecord record = results::read_published(out.results_dir(), trial.id);
        for (const auto& [name, text] : record.labels) row["labels"][name] = text;
        for (const results::Metric& metric : record.metrics) row["metrics"][metric.name] = number(metric.value);
      } catch (const StorageError& error) {
        row["status"] = "unreadable";
        row["failure"] = {{"class", "storage"}, {"message", results::clean_text(error.what())}};
      }
    } else if (state.kind == Kind::kFailed) {
      row["failure"] = {{"class", state.sidecar->failure_class},
                        {"message", state.sidecar->message},
                        {"exit_code", state.sidecar->exit_code},
                        {"signal", state.sidecar->signal},
                        {"log_tail", state.sidecar->log_tail}};
    }
    json["trials"].push_back(std::move(row));
  }
  return json.dump(2) + "\n";
}

}  // namespace aqlm_exp::app
