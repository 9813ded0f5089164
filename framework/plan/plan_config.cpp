#include "framework/plan/plan_config.h"

#include <fmt/format.h>

#include "framework/base/build_info.h"
#include "framework/base/error.h"
#include "framework/base/home.h"
#include "framework/plan/build_plan.h"

namespace aqlm_exp::plan {

namespace fs = std::filesystem;

ExpandedConfig expand_config(const ConfigRequest& request, const std::string& example) {
  ExpandedConfig expanded;
  expanded.file = named_path(request.file);
  if (!fs::is_regular_file(expanded.file)) {
    throw ConfigError(fmt::format("{}: {}; need a YAML file, e.g. {}", expanded.file.string(),
                                  fs::exists(expanded.file) ? "not a regular file" : "there is no such file", example),
                      "D101");
  }
  config::ComposeRequest compose;
  compose.file = expanded.file;
  compose.overrides = request.overrides;
  for (const std::string& folder : request.config_dirs) compose.roots.emplace_back(folder);
  compose.roots.push_back(program_home() / "configs");
  compose.max_trials = request.max_trials;
  compose.limits = request.limits;
  expanded.sweep = config::expand_sweep(compose);
  std::vector<config::Problem> problems;
  expanded.settings = read_exp(expanded.sweep.exp, problems);
  if (!problems.empty()) {
    if (expanded.sweep.sources) expanded.sweep.sources->attach(problems);
    throw config::CompositionError(std::move(problems));
  }
  return expanded;
}

Plan plan_config(const ConfigRequest& request, const ExpandedConfig& expanded, const config::Object& schema) {
  PlanRequest wanted;
  wanted.sweep = &expanded.sweep;
  wanted.schema = &schema;
  wanted.paths = {.working_directory = fs::current_path(), .builtin_root = program_home()};
  wanted.config_file = expanded.file;
  wanted.arguments = request.command_line;
  wanted.writer = "aqlm-exp " + build_info().version;
  wanted.build_id = build_info().build_id;
  wanted.trust_fingerprints = request.trust_fingerprints;
  return build_plan(wanted);
}

}  // namespace aqlm_exp::plan
