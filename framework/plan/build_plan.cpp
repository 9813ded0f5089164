#include "framework/plan/build_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <set>

#include "framework/base/error.h"
#include "framework/config/identity.h"
#include "framework/plan/out_folder.h"

namespace aqlm_exp::plan {
namespace {

using config::Node;

constexpr int64_t kComponentSchemaVersion = 1;

/// Every `<role>.type` that chooses a component, with the version of its schema.
void collect_components(const Node& node, const std::string& path, std::map<std::string, std::string>& components) {
  if (!node.is_map()) return;
  for (const config::MapEntry& entry : node.map_value().entries()) {
    if (entry.key == "type" && entry.value.is_string() && !path.empty()) {
      components[path] = fmt::format("{}@{}", entry.value.as_string(), kComponentSchemaVersion);
    }
    collect_components(entry.value, path.empty() ? entry.key : path + "." + entry.key, components);
  }
}

void collect_origin(const Node& node, const std::string& path, std::vector<KeyOrigin>& origin) {
  if (node.is_map() && !node.map_value().empty()) {
    for (const config::MapEntry& entry : node.map_value().entries()) {
      collect_origin(entry.value, path.empty() ? entry.key : path + "." + entry.key, origin);
    }
  } else if (!node.mark().source.empty()) {
    origin.push_back({.key = path, .file = node.mark().source, .line = node.mark().line});
  }
}

std::string trial_name(const config::SweepPoint& point, const std::filesystem::path& config_file) {
  std::string name = fmt::format("{}", fmt::join(point.overrides, " "));
  if (name.empty()) name = config_file.stem().string();
  if (point.repeat > 0) name += fmt::format(" #{}", point.repeat);
  return name;
}

std::vector<InputFile> fingerprints(const Node& coerced, const config::Object& schema, config::Fingerprints& printer) {
  std::vector<InputFile> inputs;
  for (const auto& [key, path] : config::input_paths(coerced, schema)) {
    try {
      inputs.push_back({.key = key, .path = path, .fingerprint = printer.of(path)});
    } catch (const DataError& error) {
      const Node* value = coerced.at(key);
      const std::string where = value != nullptr && !value->mark().source.empty() ? value->mark().str() + ": " : "";
      throw DataError(fmt::format("{}{}: {}; set {}=<path>, or \"builtin:...\" for what comes with the program", where,
                                  key, error.what(), key),
                      error.code());
    }
  }
  return inputs;
}

}  // namespace

Plan build_plan(const PlanRequest& request) {
  const config::Sweep& sweep = *request.sweep;
  Plan plan;
  plan.writer = request.writer;
  plan.build_id = request.build_id;
  plan.created_utc = utc_now_ms();
  plan.config_file = request.config_file.string();
  plan.arguments = request.arguments;
  for (const config::FileRecord& file : sweep.file_records)
    plan.files.push_back({.path = file.source, .sha256 = file.sha256});
  plan.exp = sweep.exp;
  plan.num_merged = sweep.num_merged;

  std::vector<config::Problem> problems;
  std::set<std::string> seen_problems;  // one fault of a shared file would come back with every point
  std::vector<Node> trees;
  for (const config::SweepPoint& point : sweep.points) {
    std::vector<config::Problem> found = point.problems;
    Node tree;
    if (found.empty()) tree = config::check(point.tree, *request.schema, found);
    if (found.empty()) config::resolve_paths(tree, *request.schema, request.paths, found);
    for (config::Problem& problem : found) {
      const bool is_new =
          seen_problems.insert(problem.code + problem.mark.str() + problem.path + problem.message).second;
      if (is_new) problems.push_back(std::move(problem));
    }
    trees.push_back(std::move(tree));
  }
  if (!problems.empty()) {
    if (sweep.sources) sweep.sources->attach(problems);
    throw config::CompositionError(std::move(problems));
  }
  config::Fingerprints printer(config::Fingerprints::default_cache_file());
  printer.set_verify(!request.trust_fingerprints);
  std::set<std::string> ids;
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    const config::SweepPoint& point = sweep.points[i];
    PlannedTrial trial;
    trial.inputs = fingerprints(trees[i], *request.schema, printer);
    config::IdentityParts parts;
    collect_components(trees[i], "", parts.components);
    parts.config = config::identity_part(trees[i], *request.schema);
    for (const InputFile& input : trial.inputs) parts.inputs[input.key] = input.fingerprint;
    parts.repeat = point.repeat;
    trial.identity = config::identity_text(parts);
    trial.id = config::trial_id(parts);
    if (!ids.insert(trial.id).second) {  // differed only in what is no part of an identity
      ++plan.num_merged;
      continue;
    }
    trial.name = trial_name(point, request.config_file);
    trial.overrides = point.overrides;
    trial.all_overrides = point.all_overrides;
    trial.repeat = point.repeat;
    collect_origin(point.tree, "", trial.origin);
    trial.tree = std::move(trees[i]);
    plan.trials.push_back(std::move(trial));
  }
  printer.save();
  return plan;
}

void check_inputs(const PlannedTrial& trial) {
  config::Fingerprints printer(config::Fingerprints::default_cache_file());
  for (const InputFile& input : trial.inputs) {
    const std::string now = printer.of(input.path);
    if (now == input.fingerprint) continue;
    throw DataError(
        fmt::format("{}: {} changed since the sweep was planned (SHA-256 {}..., was {}...); put it back, or plan "
                    "again with another -o",
                    input.key, input.path, now.substr(0, 12), input.fingerprint.substr(0, 12)),
        "T-CHANGED");
  }
}

}  // namespace aqlm_exp::plan
