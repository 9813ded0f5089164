// A trial from its sections as JSON.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "framework/config/check.h"
#include "framework/trial/run_trial.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::trial {

inline results::TrialRecord run_json(const nlohmann::json& json) {
  std::vector<config::Problem> problems;
  plan::PlannedTrial trial;
  trial.id = std::string(64, 'a');
  trial.tree = config::check(config::from_json(json.dump(), "test"), trial_schema(), problems);
  EXPECT_TRUE(problems.empty()) << config::problems_to_text(problems);
  return run_trial(trial, {});
}

}  // namespace aqlm_exp::trial
