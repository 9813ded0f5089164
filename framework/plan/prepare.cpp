#include "framework/plan/prepare.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "framework/results/record.h"

namespace aqlm_exp::plan {
namespace {

std::string swept_key(const PlannedTrial& trial) {
  std::string key = fmt::format("#{}", trial.repeat);
  for (const std::string& text : trial.overrides) key += "\n" + text;
  return key;
}

/// Dotted leaves of a tree.
void flatten(const config::Node& node, const std::string& prefix, std::map<std::string, std::string>& leaves) {
  if (node.is_map() && !node.map_value().empty()) {
    for (const config::MapEntry& entry : node.map_value().entries()) {
      flatten(entry.value, prefix.empty() ? entry.key : prefix + "." + entry.key, leaves);
    }
  } else {
    leaves[prefix] = config::to_json(node);
  }
}

std::string changed_keys(const PlannedTrial& stored, const PlannedTrial& fresh) {
  std::map<std::string, std::string> before, after;
  flatten(stored.tree, "", before);
  flatten(fresh.tree, "", after);
  std::string text;
  int shown = 0;
  const auto add = [&](const std::string& line) {
    if (++shown <= 4) text += (text.empty() ? "" : ", ") + line;
  };
  for (const auto& [key, value] : after) {
    const auto found = before.find(key);
    if (found == before.end()) {
      add(fmt::format("{} is new ({})", key, value));
    } else if (found->second != value) {
      add(fmt::format("{} {} -> {}", key, found->second, value));
    }
  }
  for (const auto& [key, value] : before) {
    if (after.count(key) == 0) add(fmt::format("{} is gone", key));
  }
  std::map<std::string, std::string> prints;
  for (const InputFile& input : stored.inputs) prints[input.key] = input.fingerprint;
  for (const InputFile& input : fresh.inputs) {
    const auto found = prints.find(input.key);
    if (found != prints.end() && found->second != input.fingerprint)
      add(fmt::format("contents of {} changed", input.key));
  }
  if (shown > 4) text += fmt::format(", and {} more", shown - 4);
  return text.empty() ? "component versions changed" : text;
}

}  // namespace

PlanDifference compare(const Plan& stored, const Plan& fresh) {
  PlanDifference difference;
  std::set<std::string> stored_ids, fresh_ids;
  for (const PlannedTrial& trial : stored.trials) stored_ids.insert(trial.id);
  for (const PlannedTrial& trial : fresh.trials) fresh_ids.insert(trial.id);
  std::map<std::string, const PlannedTrial*> gone;
  for (const PlannedTrial& trial : stored.trials) {
    if (fresh_ids.count(trial.id) == 0) gone[swept_key(trial)] = &trial;
  }
  std::set<const PlannedTrial*> matched;
  for (const PlannedTrial& trial : fresh.trials) {
    if (stored_ids.count(trial.id) != 0) continue;
    const auto found = gone.find(swept_key(trial));
    if (found == gone.end()) {
      difference.added.push_back(&trial);
    } else {
      difference.changed.emplace_back(found->second, &trial);
      matched.insert(found->second);
    }
  }
  for (const PlannedTrial& trial : stored.trials) {
    if (fresh_ids.count(trial.id) == 0 && matched.count(&trial) == 0) difference.removed.push_back(&trial);
  }
  return difference;
}

std::string describe(const PlanDifference& difference) {
  std::string text;
  for (const PlannedTrial* trial : difference.added) {
    text += fmt::format("  + {}  {}\n", trial->id.substr(0, 12), trial->name);
  }
  for (const PlannedTrial* trial : difference.removed) {
    text += fmt::format("  - {}  {}\n", trial->id.substr(0, 12), trial->name);
  }
  for (const auto& [stored, fresh] : difference.changed) {
    text += fmt::format("  ~ {} -> {}  {}: {}\n", stored->id.substr(0, 12), fresh->id.substr(0, 12), fresh->name,
                        changed_keys(*stored, *fresh));
  }
  return text;
}

Prepared prepare(const Plan& fresh, const OutFolder& out, const PrepareOptions& options, results::FileSystem& files) {
  Prepared prepared;
  results::make_folders(out.results_dir(), files);
  if (!std::filesystem::exists(out.plan_file())) {
    results::put_file(out.plan_file(), plan_text(fresh), results::IfPresent::kFail, files);
    prepared.plan = fresh;
  } else {
    prepared.resumed = true;
    prepared.plan = load_plan(out.plan_file());
    const PlanDifference difference = compare(prepared.plan, fresh);
    if (!difference.empty()) {
      if (!options.extend) {
        throw ConfigError(fmt::format("{}: the folder holds another plan:\n{}need the same plan; --extend adds the new "
                                      "trials to it (nothing is removed), -o names another folder",
                                      out.root.string(), describe(difference)),
                          "P-CHANGED");
      }
      size_t num_added = 0;
      const auto add = [&](const PlannedTrial& trial) {
        prepared.plan.trials.push_back(trial);
        ++num_added;
      };
      for (const PlannedTrial* trial : difference.added) add(*trial);
      for (const auto& [stored, changed] : difference.changed) add(*changed);
      if (num_added > 0) {
        results::put_file(out.plan_file(), plan_text(prepared.plan), results::IfPresent::kReplace, files);
      }
      prepared.notes.push_back(fmt::format("extended the plan by {} trial(s)", num_added));
    }
  }
  prepared.scan = scan(prepared.plan, out, Verify::kHashes);
  for (std::string& line : repair(prepared.plan, out, prepared.scan, files)) prepared.notes.push_back(std::move(line));
  size_t num_mixed = 0;
  for (size_t i = 0; i < prepared.plan.trials.size(); ++i) {
    TrialState& state = prepared.scan.trials[i];
    if (state.kind != TrialState::Kind::kCompleted || state.sidecar->build_id == fresh.build_id) continue;
    ++num_mixed;
    if (options.code_mismatch == CodeMismatch::kRerun) {
      quarantine(prepared.plan.trials[i], out, files);
      state.kind = TrialState::Kind::kPlanned;
    }
  }
  if (num_mixed > 0) {
    if (options.code_mismatch == CodeMismatch::kFail) {
      throw ConfigError(
          fmt::format("{}: {} result(s) were made by another build than this one ({}); --code-mismatch=reuse "
                      "keeps them, =rerun repeats them",
                      out.root.string(), num_mixed, fresh.build_id),
          "P-BUILD");
    }
    prepared.notes.push_back(options.code_mismatch == CodeMismatch::kRerun
                                 ? fmt::format("set {} result(s) of another build aside", num_mixed)
                                 : fmt::format("mixed builds: {} result(s) come from another build; "
                                               "--code-mismatch=rerun repeats them",
                                               num_mixed));
  }
  return prepared;
}

}  // namespace aqlm_exp::plan
