#include "framework/plan/plan_file.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "framework/base/error.h"
#include "framework/base/sha256.h"
#include "framework/results/record.h"
#include "framework/results/storage.h"
#include "framework/results/text_check.h"

namespace aqlm_exp::plan {
namespace {

using Json = nlohmann::ordered_json;
using config::Node;

constexpr std::string_view kTrialStart = "{\"id\":\"";
constexpr std::string_view kChecksumStart = "],\"checksum\":\"";
constexpr size_t kPlanLimitBytes = size_t{4} << 30;

std::string json_text(std::string_view text) { return Json(results::clean_text(text)).dump(); }

Json texts(const std::vector<std::string>& values) {
  Json json = Json::array();
  for (const std::string& value : values) json.push_back(results::clean_text(value));
  return json;
}

std::string trial_line(const PlannedTrial& trial) {
  Json inputs = Json::array();
  for (const InputFile& input : trial.inputs) {
    inputs.push_back(
        {{"key", input.key}, {"path", results::clean_text(input.path)}, {"fingerprint", input.fingerprint}});
  }
  Json origin = Json::array();
  for (const KeyOrigin& from : trial.origin) {
    origin.push_back(Json::array({from.key, results::clean_text(from.file), from.line}));
  }
  return fmt::format(
      "{}{}\",\"name\":{},\"overrides\":{},\"all_overrides\":{},\"repeat\":{},\"identity\":{},\"inputs\":{},\"origin\":"
      "{},"
      "\"config\":{}}}",
      kTrialStart, trial.id, json_text(trial.name), texts(trial.overrides).dump(), texts(trial.all_overrides).dump(),
      trial.repeat, json_text(trial.identity), inputs.dump(), origin.dump(), config::to_json(trial.tree));
}

StorageError damaged(const std::string& shown_name, const std::string& why) {
  return StorageError(fmt::format("{}: the plan is damaged ({}); move this folder away, or plan again with another -o",
                                  shown_name, why),
                      "P-DAMAGED");
}

PlannedTrial parse_trial(std::string_view line, const std::string& shown_name) {
  if (!line.empty() && line.back() == ',') line.remove_suffix(1);
  try {
    const Json json = Json::parse(line);
    PlannedTrial trial;
    trial.id = json.at("id").get<std::string>();
    trial.name = json.at("name").get<std::string>();
    trial.overrides = json.at("overrides").get<std::vector<std::string>>();
    trial.all_overrides = json.at("all_overrides").get<std::vector<std::string>>();
    trial.repeat = json.at("repeat").get<int64_t>();
    trial.identity = json.at("identity").get<std::string>();
    for (const Json& input : json.at("inputs")) {
      trial.inputs.push_back({.key = input.at("key").get<std::string>(),
                              .path = input.at("path").get<std::string>(),
                              .fingerprint = input.at("fingerprint").get<std::string>()});
    }
    for (const Json& from : json.at("origin")) {
      trial.origin.push_back({.key = from.at(0).get<std::string>(),
                              .file = from.at(1).get<std::string>(),
                              .line = from.at(2).get<int64_t>()});
    }
    const size_t config_start = line.find("\"config\":");
    trial.tree = config::from_json(line.substr(config_start + 9, line.size() - config_start - 10), shown_name);
    return trial;
  } catch (const nlohmann::json::exception& error) {
    throw damaged(shown_name, error.what());
  }
}

/// The lines of a checked plan: header, trials, end.
struct PlanLines {
  std::string_view header;
  std::vector<std::string_view> trials;
};

PlanLines checked_lines(std::string_view text, const std::string& shown_name) {
  const size_t end = text.rfind(kChecksumStart);
  if (end == std::string_view::npos || text.empty() || text.back() != '\n')
    throw damaged(shown_name, "it is cut short");
  const std::string expected = fmt::format("{}{}\"}}\n", kChecksumStart, sha256_hex(text.substr(0, end)));
  if (text.substr(end) != expected) throw damaged(shown_name, "its checksum differs");
  PlanLines lines;
  std::string_view body = text.substr(0, end);
  while (!body.empty()) {
    const size_t newline = body.find('\n');
    const std::string_view line = body.substr(0, newline);
    if (lines.header.empty()) {
      lines.header = line;
    } else if (line.substr(0, kTrialStart.size()) == kTrialStart) {
      lines.trials.push_back(line);
    } else if (!line.empty()) {
      throw damaged(shown_name, "a line is not a trial");
    }
    if (newline == std::string_view::npos) break;
    body.remove_prefix(newline + 1);
  }
  return lines;
}

}  // namespace

const PlannedTrial* Plan::find(std::string_view id) const {
  for (const PlannedTrial& trial : trials) {
    if (trial.id == id) return &trial;
  }
  return nullptr;
}

std::string plan_text(const Plan& plan) {
  std::set<std::string> stems;
  for (const PlannedTrial& trial : plan.trials) {
    if (trial.id.size() != 64) throw InternalError(fmt::format("[plan] trial id \"{}\": need 64 digits", trial.id));
    if (!stems.insert(results::id16(trial.id)).second) {
      throw InternalError(
          fmt::format("[plan] two trials share the id {}; need distinct ones", results::id16(trial.id)));
    }
  }
  Json files = Json::array();
  for (const ConfigFile& file : plan.files) {
    files.push_back({{"path", results::clean_text(file.path)}, {"sha256", file.sha256}});
  }
  std::string text = fmt::format(
      "{{\"format\":\"aqlm-exp-plan\",\"format_version\":{},\"writer\":{},\"build_id\":{},\"created_utc\":{},"
      "\"config_file\":{},\"arguments\":{},\"files\":{},\"num_merged\":{},\"num_trials\":{},\"exp\":{},\"trials\":[\n",
      kPlanVersion, json_text(plan.writer), json_text(plan.build_id), json_text(plan.created_utc),
      json_text(plan.config_file), texts(plan.arguments).dump(), files.dump(), plan.num_merged, plan.trials.size(),
      config::to_json(plan.exp));
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    text += trial_line(plan.trials[i]);
    text += i + 1 < plan.trials.size() ? ",\n" : "\n";
  }
  const std::string checksum = sha256_hex(text);
  text += fmt::format("{}{}\"}}\n", kChecksumStart, checksum);
  return text;
}

Plan parse_plan(std::string_view text, const std::string& shown_name) {
  const PlanLines lines = checked_lines(text, shown_name);
  Plan plan;
  try {
    const Json header = Json::parse(std::string(lines.header) + "]}");
    const int64_t version = header.at("format_version").get<int64_t>();
    if (version > kPlanVersion) {
      throw Error(
          ExitCode::kVersion, "P-VERSION",
          fmt::format("{}: got plan version {}, this program reads up to {}; use the aqlm-exp that made it ({})",
                      shown_name, version, kPlanVersion, header.value("writer", "?")));
    }
    plan.writer = header.at("writer").get<std::string>();
    plan.build_id = header.at("build_id").get<std::string>();
    plan.created_utc = header.at("created_utc").get<std::string>();
    plan.config_file = header.at("config_file").get<std::string>();
    plan.arguments = header.at("arguments").get<std::vector<std::string>>();
    for (const Json& file : header.at("files")) {
      plan.files.push_back(
          {.path = file.at("path").get<std::string>(), .sha256 = file.at("sha256").get<std::string>()});
    }
    plan.num_merged = header.at("num_merged").get<int64_t>();
    plan.exp = config::from_json(header.at("exp").dump(), shown_name);
    if (header.at("num_trials").get<size_t>() != lines.trials.size()) throw damaged(shown_name, "trials are missing");
  } catch (const nlohmann::json::exception& error) {
    throw damaged(shown_name, error.what());
  }
  for (std::string_view line : lines.trials) plan.trials.push_back(parse_trial(line, shown_name));
  return plan;
}

Plan load_plan(const std::filesystem::path& file) {
  return parse_plan(results::read_file(file, kPlanLimitBytes), file.string());
}

PlannedTrial load_trial(const std::filesystem::path& plan_file, std::string_view id) {
  const std::string text = results::read_file(plan_file, kPlanLimitBytes);
  const PlanLines lines = checked_lines(text, plan_file.string());
  const std::string start = std::string(kTrialStart) + std::string(id);
  std::string_view found;
  for (std::string_view line : lines.trials) {
    if (line.substr(0, start.size()) != start) continue;
    if (!found.empty()) {
      throw DataError(fmt::format("{}: several trials begin with \"{}\"; give more digits", plan_file.string(), id));
    }
    found = line;
  }
  if (found.empty()) {
    throw DataError(fmt::format("{}: no trial with the id \"{}\" among {}; `aqlm-exp status {}` lists them",
                                plan_file.string(), id, lines.trials.size(), plan_file.parent_path().string()));
  }
  return parse_trial(found, plan_file.string());
}

}  // namespace aqlm_exp::plan
