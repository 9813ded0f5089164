// Plans of synthetic trials and a folder to run them in.
#pragma once

#include <string>
#include <vector>

#include "framework/base/sha256.h"
#include "framework/plan/execute.h"
#include "framework/plan/plan_file.h"
#include "framework/plan/prepare.h"

namespace aqlm_exp::plan {

/// Each text is the JSON of a `job`, e.g. {"behaviour":"ok","value":3}.
inline Plan synthetic_plan(const std::vector<std::string>& jobs) {
  Plan plan;
  plan.writer = "test";
  plan.build_id = "b1";
  plan.config_file = "synthetic.yaml";
  plan.exp = config::Node::map();
  for (size_t i = 0; i < jobs.size(); ++i) {
    PlannedTrial trial;
    trial.tree = config::from_json("{\"job\":" + jobs[i] + "}", "job");
    config::NodeMap& job = trial.tree.map_value().find("job")->map_value();
    const auto add = [&](const char* key, config::Node value) {
      if (job.find(key) == nullptr) job.set(key, std::move(value));
    };
    add("behaviour", config::Node::string("ok"));
    add("seconds", config::Node::number(0));
    add("value", config::Node::integer(static_cast<int64_t>(i)));
    add("exit_code", config::Node::integer(0));
    add("marker", config::Node::string(""));
    trial.identity = config::to_json(trial.tree);
    trial.id = sha256_hex(trial.identity);
    trial.name = "trial " + std::to_string(i);
    trial.overrides = {"job.value=" + std::to_string(i)};
    plan.trials.push_back(std::move(trial));
  }
  return plan;
}

inline ExecuteOptions quick_options() {
  ExecuteOptions options;
  options.worker = AQLM_EXP_SYNTHETIC_WORKER;
  options.launcher.workers = 2;
  options.launcher.backoff_s = 0.1;
  options.launcher.grace_s = 0.5;
  options.heartbeat_s = 0.1;
  options.build_id = "b1";
  return options;
}

}  // namespace aqlm_exp::plan
