#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "framework/base/sha256.h"
#include "framework/config/canonical.h"
#include "framework/config/compose.h"
#include "framework/config/composer.h"
#include "framework/config/sweep_spec.h"

namespace aqlm_exp::config {
namespace {

/// Number of points of a grid, at most `limit` + 1.
size_t grid_size(const Grid& grid, size_t limit) {
  size_t size = 1;
  for (const Dimension& dimension : grid) {
    const size_t factor = dimension.alternatives.size();
    if (factor == 0) return 0;
    if (size > limit / factor) return limit + 1;
    size *= factor;
  }
  return size;
}

/// Overrides of the point with number `index`: the last dimension varies fastest.
std::vector<std::pair<const Override*, bool>> point_of(const Grid& grid, size_t index) {
  std::vector<size_t> digits(grid.size());
  for (size_t i = grid.size(); i-- > 0;) {
    digits[i] = index % grid[i].alternatives.size();
    index /= grid[i].alternatives.size();
  }
  std::vector<std::pair<const Override*, bool>> out;
  for (size_t i = 0; i < grid.size(); ++i) {
    for (const Override& override : grid[i].alternatives[digits[i]]) out.emplace_back(&override, grid[i].is_swept);
  }
  return out;
}

bool equal_value(const Node& wanted, const Node& value) {
  const bool numbers = (wanted.is_int() || wanted.is_float()) && (value.is_int() || value.is_float());
  return numbers ? wanted.as_number() == value.as_number() : same_data(wanted, value);
}

/// A key that names a choice is compared with the chosen option, any other with the composed value.
bool is_excluded(const Exclusion& exclusion, const Composer::Tree& tree) {
  return std::all_of(exclusion.values.begin(), exclusion.values.end(), [&](const auto& item) {
    const auto& [key, wanted] = item;
    if (const auto choice = tree.choices.find(key); choice != tree.choices.end()) {
      if (!wanted.is_map() && !wanted.is_list()) return choice->second == scalar_text(wanted);
    }
    const Node* value = tree.tree.at(key);
    return value != nullptr && equal_value(wanted, *value);
  });
}

/// The command line with the first value of each sweep: enough to read `exp`.
Node read_exp(const std::vector<Override>& command_line, Composer& composer, std::vector<Problem>& problems) {
  ValueContext context;
  context.syntax_only = true;
  std::vector<ReadyOverride> ready;
  for (const Override& override : command_line) {
    if (auto value = composer.evaluate(override, context, problems)) ready.push_back(std::move(*value));
  }
  std::vector<const Override*> overrides;
  for (const ReadyOverride& item : ready) {
    // A glob stands for options that are known only later.
    const bool is_glob = item.is_sweep && composer.is_choice(item.override) &&
                         item.override.elements.front().kind == Element::Kind::kBare &&
                         item.override.elements.front().value.is_string() &&
                         item.override.elements.front().value.as_string().find_first_of("*?[") != std::string::npos;
    if (!is_glob) overrides.push_back(&item.override);
  }
  return composer.compose(overrides, /*skip_missing=*/true, problems).exp;
}

bool is_fatal(const Problem& problem) {
  return problem.code[0] == 'Y' || problem.code == "D101" || problem.code == "D106";
}

}  // namespace

Sweep expand_sweep(const ComposeRequest& request, bool keep_failing_points) {
  Composer composer(request);
  std::vector<Problem> problems;
  const std::vector<Override> command_line = parse_overrides(request.overrides, composer.files().sources(), problems);
  std::vector<Problem> first_problems;
  const Node exp = read_exp(command_line, composer, first_problems);
  for (Problem& problem : first_problems) {
    if (problem.code[0] == 'O') problems.push_back(problem);
  }
  const auto stop_if = [&](bool condition, std::vector<Problem>& found) {
    if (!condition) return;
    composer.finish(found);
    if (std::any_of(found.begin(), found.end(),
                    [](const Problem& problem) { return problem.code[0] == 'O' && problem.mark.line == 0; })) {
      throw OverrideSyntaxError(std::move(found));
    }
    throw CompositionError(std::move(found));
  };
  stop_if(!problems.empty(), problems);
  stop_if(std::any_of(first_problems.begin(), first_problems.end(), is_fatal), first_problems);

  const SweepSpec spec = read_sweep(exp, command_line, composer, problems);
  if (!problems.empty()) problems.insert(problems.end(), first_problems.begin(), first_problems.end());
  stop_if(!problems.empty(), problems);

  Sweep out;
  size_t num_points = 0;
  for (const Grid& grid : spec.grids) {
    num_points += grid_size(grid, request.max_trials);
    if (num_points > request.max_trials) break;
  }
  const size_t repeat = static_cast<size_t>(spec.repeat);
  if (num_points > request.max_trials || (num_points != 0 && repeat > request.max_trials / num_points)) {
    const Node* sweep = exp.at("sweep");
    problems.push_back({"W104", sweep == nullptr ? Mark{"command line"} : sweep->mark(), "exp.sweep",
                        fmt::format("the sweep has more than {} trials", request.max_trials),
                        "sweep fewer values, or permit it with --max-trials N"});
  }
  stop_if(!problems.empty(), problems);

  std::unordered_set<std::string> seen;
  std::vector<size_t> num_matches(spec.exclusions.size(), 0);
  for (const Grid& grid : spec.grids) {
    const size_t size = grid_size(grid, request.max_trials);
    for (size_t index = 0; index < size; ++index) {
      ++out.num_combinations;
      const auto point = point_of(grid, index);
      std::vector<const Override*> overrides;
      for (const auto& [override, is_swept] : point) overrides.push_back(override);
      std::vector<Problem> point_problems;
      Composer::Tree tree = composer.compose(overrides, /*skip_missing=*/false, point_problems);
      SweepPoint made;
      for (const auto& [override, is_swept] : point) {
        made.all_overrides.push_back(print_override(*override));
        if (is_swept) made.overrides.push_back(made.all_overrides.back());
      }
      if (!point_problems.empty()) {
        if (keep_failing_points) {
          composer.finish(point_problems);
          made.problems = std::move(point_problems);
          out.points.push_back(std::move(made));
        } else {
          problems.insert(problems.end(), point_problems.begin(), point_problems.end());
          composer.finish(problems);
          stop_if(problems.size() >= kMaxProblems, problems);
        }
        continue;
      }
      bool excluded = false;
      for (size_t i = 0; i < spec.exclusions.size(); ++i) {
        if (!is_excluded(spec.exclusions[i], tree)) continue;
        excluded = true;
        ++num_matches[i];
      }
      if (excluded) {
        ++out.num_excluded;
        continue;
      }
      if (!seen.insert(sha256_hex(canonical_json(tree.tree))).second) {
        ++out.num_merged;
        continue;
      }
      if (out.points.empty()) out.exp = tree.exp;
      for (const auto& [name, value] : tree.environment) out.environment[name] = value;
      made.tree = std::move(tree.tree);
      made.choices = std::move(tree.choices);
      for (size_t i = 0; i + 1 < repeat; ++i) {
        out.points.push_back(made);
        out.points.back().repeat = static_cast<int64_t>(i);
      }
      made.repeat = spec.repeat - 1;
      out.points.push_back(std::move(made));
    }
  }
  stop_if(!problems.empty(), problems);
  if (out.exp.is_null()) out.exp = exp;
  for (size_t i = 0; i < spec.exclusions.size(); ++i) {
    if (num_matches[i] == 0) {
      out.warnings.push_back(
          fmt::format("{}: exp.sweep.exclude[{}] matches no combination", spec.exclusions[i].mark.str(), i));
    }
  }
  if (out.num_merged > 0) {
    out.warnings.push_back(fmt::format("{} of {} combinations are identical to earlier ones and were merged",
                                       out.num_merged, out.num_combinations));
  }
  out.files = composer.file_names();
  out.file_records = composer.file_records();
  out.sources = composer.files().shared_sources();
  return out;
}

}  // namespace aqlm_exp::config
