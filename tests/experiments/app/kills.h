// What the tests of random kills share: numbers from the environment, and results without what may differ.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "framework/plan/out_folder.h"
#include "framework/plan/plan_file.h"
#include "framework/results/publish.h"
#include "framework/results/record.h"

namespace aqlm_exp::app {

inline int64_t number_from(const char* name, int64_t fallback) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::atoll(text) : fallback;
}

/// Deterministic part of every result, by trial.
inline std::map<std::string, std::string> deterministic_parts(const std::filesystem::path& root) {
  std::map<std::string, std::string> parts;
  const plan::OutFolder out{root};
  for (const plan::PlannedTrial& trial : plan::load_plan(out.plan_file()).trials) {
    parts[trial.id] = results::deterministic_text(results::read_published(out.results_dir(), trial.id));
  }
  return parts;
}

}  // namespace aqlm_exp::app
