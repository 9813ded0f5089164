#include "tests/fuzz/config/targets.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/sha256.h"
#include "framework/config/canonical.h"
#include "framework/config/compose.h"
#include "framework/config/config_files.h"
#include "framework/config/interpolation.h"
#include "framework/config/override_grammar.h"
#include "framework/config/sweep_values.h"
#include "framework/config/yaml_front.h"

namespace aqlm_exp::config::fuzz {
namespace {

namespace fs = std::filesystem;

void require(bool condition, const char* promise) {
  if (condition) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

std::string_view text_of(const uint8_t* data, size_t size) { return {reinterpret_cast<const char*>(data), size}; }

YamlLimits small_limits() {
  YamlLimits limits;
  limits.max_nodes = 20000;
  return limits;
}

/// Everything that is made of a problem must be printable.
void print(const std::vector<Problem>& problems) {
  require(!problems_to_text(problems).empty(), "a problem has text");
  from_json(problems_to_json(problems), "problems");
}

/// A folder of this process, in memory where possible.
const fs::path& folder() {
  static const fs::path path = [] {
    const fs::path base = fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    const fs::path made = base / ("aqlm_exp_fuzz_" + std::to_string(::getpid()));
    fs::create_directories(made);
    std::atexit([] {
      std::error_code error;
      fs::remove_all(folder(), error);
    });
    return made;
  }();
  return path;
}

}  // namespace

void yaml(const uint8_t* data, size_t size) {
  std::vector<Problem> problems;
  const auto file = read_yaml(text_of(data, size), "input.yaml", small_limits(), problems);
  require(file.has_value() == problems.empty(), "a file is read, or refused with a problem");
  if (!file) {
    print(problems);
    return;
  }
  const std::string json = to_json(file->root);
  require(json == to_json(from_json(json, "json")) || json.find("e+") != std::string::npos ||
              json.find('.') != std::string::npos,
          "the tree survives JSON");
  canonical_json(file->root);
}

void overrides(const uint8_t* data, size_t size) {
  std::vector<Problem> problems;
  const auto first = parse_override(text_of(data, size), Mark{"override #1", 0, 1}, problems);
  require(first.has_value() == problems.empty(), "an override is read, or refused with a problem");
  if (!first) {
    print(problems);
    return;
  }
  const std::string printed = print_override(*first);
  const auto second = parse_override(printed, Mark{"override #1", 0, 1}, problems);
  require(second.has_value(), "a printed override parses");
  require(print_override(*second) == printed, "print, parse, print is print");
  require(first->elements.size() == second->elements.size(), "a printed override has as many elements");
  ValueContext context;
  context.seed = 1;
  if (printed.find("range") != std::string::npos) context.syntax_only = true;
  // One after the other, so that the memory rule sees one evaluation.
  const auto evaluated = [&](const std::vector<Element>& elements) -> std::optional<std::pair<size_t, std::string>> {
    std::vector<Problem> value_problems;
    const auto values = evaluate_values(elements, context, value_problems);
    if (!values) {
      print(value_problems);
      return std::nullopt;
    }
    Sha256 hash;
    for (const auto& value : values->values) {
      const std::string json = to_json(node_of(value)) + "\n";
      hash.update(json.data(), json.size());
    }
    return std::pair(values->values.size(), hash.hex());
  };
  const auto values = evaluated(first->elements), again = evaluated(second->elements);
  require(values.has_value() == again.has_value(), "both evaluate, or neither");
  if (!values) return;
  require(values->first == again->first, "both have as many values");
  require(values->second == again->second, "both have the same values");
}

void interpolation(const uint8_t* data, size_t size) {
  std::vector<Problem> problems;
  const auto file = read_yaml(text_of(data, size), "input.yaml", small_limits(), problems);
  if (!file || !file->root.is_map()) return;
  const Node once = resolve_references(file->root, problems).tree;
  if (!problems.empty()) return print(problems);
  const Node twice = resolve_references(once, problems).tree;
  require(problems.empty(), "a resolved tree resolves");
  require(same_data(once, twice), "resolving twice changes nothing");
}

void composition(const uint8_t* data, size_t size) {
  ComposeRequest request;
  std::vector<std::pair<std::string, std::string>> files;
  std::string_view text = text_of(data, size);
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.substr(0, 3) == "## ") {
      const std::string name(line.substr(3));
      files.emplace_back(is_config_path(name) && name.size() < 100 ? name : "config", "");
    } else if (files.empty()) {
      request.overrides.emplace_back(line);
    } else {
      files.back().second += std::string(line) + "\n";
    }
    if (files.size() > 12 || request.overrides.size() > 8) return;
  }
  static std::set<std::string> written;
  for (const std::string& name : written) {
    std::error_code error;
    fs::remove(folder() / name, error);
  }
  written.clear();
  if (files.empty()) files.emplace_back("config", "");
  for (const auto& [name, body] : files) {
    const fs::path file = folder() / (name + ".yaml");
    std::error_code error;
    fs::create_directories(file.parent_path(), error);
    std::ofstream(file, std::ios::binary | std::ios::trunc) << body;
    written.insert(name + ".yaml");
  }
  request.file = folder() / (files.front().first + ".yaml");
  request.max_trials = 20;
  request.limits = small_limits();
  try {
    const Composition made = compose(request);
    canonical_json(made.tree);
  } catch (const CompositionError& e) {
    print(e.problems());
  } catch (const OverrideSyntaxError& e) {
    print(e.problems());
  }
  try {
    const Sweep sweep = expand_sweep(request);
    require(sweep.points.size() <= request.max_trials, "a sweep keeps its limit");
  } catch (const CompositionError& e) {
    print(e.problems());
  } catch (const OverrideSyntaxError& e) {
    print(e.problems());
  }
}

}  // namespace aqlm_exp::config::fuzz
