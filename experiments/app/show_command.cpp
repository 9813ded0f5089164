#include "experiments/app/show_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "framework/base/error.h"
#include "framework/config/introspection.h"
#include "framework/config/suggestions.h"
#include "framework/plan/plan_file.h"

namespace aqlm_exp::app {
namespace {

using config::Node;

struct ShowArguments {
  std::string file;
  std::vector<std::string> overrides;
  std::vector<std::string> config_dirs;
  std::string at;
  std::string format;
  std::string component;
  size_t max_trials = 10000;
  config::YamlLimits limits;
  bool resolve = false;
  bool origin = false;
  bool json = false;  // errors too

  bool wants_json() const { return json || format == "json"; }
};

config::ComposeRequest request_of(const ShowArguments& arguments, const ShowContext& context) {
  config::ComposeRequest request;
  request.file = config_file(arguments.file, context);
  request.overrides = arguments.overrides;
  for (const std::string& folder : arguments.config_dirs) request.roots.emplace_back(folder);
  request.roots.insert(request.roots.end(), context.builtin_roots.begin(), context.builtin_roots.end());
  request.max_trials = arguments.max_trials;
  request.limits = arguments.limits;
  return request;
}

void print_node(const Node& node, const ShowArguments& arguments, std::ostream& out) {
  if (arguments.wants_json()) {
    out << config::to_json(node, 2) << "\n";
  } else {
    out << plan::to_yaml(node);
  }
}

int show_config(const ShowArguments& arguments, const ShowContext& context, std::ostream& out) {
  config::ComposeRequest request = request_of(arguments, context);
  request.resolve = arguments.resolve;
  request.record_overwritten = arguments.origin;
  const config::Composition composition = config::compose(request);
  Node tree = composition.tree;
  if (!arguments.at.empty()) {
    Node whole = composition.tree;
    whole.map_value().set("exp", composition.exp);
    const Node* part = whole.at(arguments.at);
    if (part == nullptr) {
      const size_t dot = arguments.at.rfind('.');
      const Node* parent = dot == std::string::npos ? &whole : whole.at(arguments.at.substr(0, dot));
      std::vector<std::string> known = parent == nullptr ? std::vector<std::string>() : config::keys_of(*parent);
      const std::string leaf = dot == std::string::npos ? arguments.at : arguments.at.substr(dot + 1);
      std::string hint = config::did_you_mean(config::nearest_names(leaf, known));
      throw ConfigError(
          fmt::format("--at {}: no such key; {}keys there: {}", arguments.at, hint.empty() ? "" : hint + " ",
                      known.empty() ? "none" : config::join_names(known, 20)),
          "C104");
    }
    tree = *part;
  }
  if (!arguments.origin) {
    print_node(tree, arguments, out);
  } else if (arguments.wants_json()) {
    out << config::to_json(config::origin_data(composition, tree, arguments.at), 2) << "\n";
  } else {
    out << config::origin_text(composition, tree, arguments.at);
  }
  return 0;
}

Node texts(const std::vector<std::string>& values) {
  Node::List items;
  for (const std::string& value : values) items.push_back(Node::string(value));
  return Node::list(std::move(items));
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

Node sweep_data(const config::Sweep& sweep) {
  Node document = Node::map();
  Node::List trials;
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    const config::SweepPoint& point = sweep.points[i];
    Node trial = Node::map();
    trial.map_value().set("index", Node::integer(static_cast<int64_t>(i)));
    trial.map_value().set("overrides", texts(point.all_overrides));
    trial.map_value().set("swept", texts(point.overrides));
    trial.map_value().set("repeat", Node::integer(point.repeat));
    Node choices = Node::map();
    for (const auto& [key, option] : point.choices) choices.map_value().set(key, Node::string(option));
    trial.map_value().set("choices", std::move(choices));
    trial.map_value().set("config", point.tree);
    if (!point.problems.empty()) {
      trial.map_value().set("errors",
                            *config::from_json(config::problems_to_json(point.problems), "errors").at("errors"));
    }
    trials.push_back(std::move(trial));
  }
  document.map_value().set("trials", Node::list(std::move(trials)));
  document.map_value().set("num_trials", Node::integer(static_cast<int64_t>(sweep.points.size())));
  document.map_value().set("num_combinations", Node::integer(sweep.num_combinations));
  document.map_value().set("num_excluded", Node::integer(sweep.num_excluded));
  document.map_value().set("num_merged", Node::integer(sweep.num_merged));
  document.map_value().set("warnings", texts(sweep.warnings));
  return document;
}

int show_sweep(const ShowArguments& arguments, const ShowContext& context, std::ostream& out, std::ostream& err) {
  const config::Sweep sweep = config::expand_sweep(request_of(arguments, context), /*keep_failing_points=*/true);
  std::vector<config::Problem> problems;
  for (const config::SweepPoint& point : sweep.points) {
    problems.insert(problems.end(), point.problems.begin(), point.problems.end());
  }
  if (arguments.wants_json()) {
    out << config::to_json(sweep_data(sweep), 2) << "\n";
  } else if (!arguments.format.empty()) {
    out << plan::to_yaml(sweep_data(sweep));
  } else {
    for (size_t i = 0; i < sweep.points.size(); ++i) {
      const config::SweepPoint& point = sweep.points[i];
      out << fmt::format("{:>5}  {}{}{}\n", i + 1,
                         point.all_overrides.empty() ? "(as composed)" : joined(point.all_overrides),
                         point.repeat > 0 ? fmt::format("  repeat {}", point.repeat) : "",
                         point.problems.empty() ? "" : fmt::format("  ({})", point.problems.front().code));
    }
  }
  for (const std::string& warning : sweep.warnings) err << warning << "\n";
  err << fmt::format("{} trials from {} combinations\n", sweep.points.size(), sweep.num_combinations);
  if (problems.empty()) return 0;
  // One fault met by every point is one fault.
  std::vector<config::Problem> distinct;
  for (config::Problem& problem : problems) {
    const bool known = std::any_of(distinct.begin(), distinct.end(), [&](const config::Problem& other) {
      return other.code == problem.code && other.message == problem.message && other.mark.str() == problem.mark.str();
    });
    if (!known) distinct.push_back(std::move(problem));
  }
  err << config::problems_to_text(distinct) << "\n";
  return static_cast<int>(ExitCode::kConfig);
}

int show_tree(const ShowArguments& arguments, const ShowContext& context, std::ostream& out, std::ostream& err) {
  const config::Inspection inspection = config::inspect_defaults(request_of(arguments, context));
  if (arguments.wants_json()) {
    out << config::to_json(inspection.tree, 2) << "\n";
  } else {
    out << inspection.tree_text;
  }
  for (const std::string& lint : inspection.lints) err << lint << "\n";
  return 0;
}

int show_defaults(const ShowArguments& arguments, const ShowContext& context, std::ostream& out, std::ostream& err) {
  const config::Inspection inspection = config::inspect_defaults(request_of(arguments, context));
  Node::List rows;
  if (!arguments.wants_json()) out << "merged in this order, later ones win:\n";
  for (const config::MergedFile& merged : inspection.merged) {
    const std::string package = merged.package.empty() ? "_global_" : merged.package;
    if (!arguments.wants_json()) {
      out << fmt::format("  {:<32} -> {:<24} {}{}\n", merged.config_path, package, merged.file,
                         merged.choice_key.empty() ? "" : "  (choice " + merged.choice_key + ")");
      continue;
    }
    Node row = Node::map();
    row.map_value().set("config", Node::string(merged.config_path));
    row.map_value().set("package", Node::string(package));
    row.map_value().set("file", Node::string(merged.file));
    row.map_value().set("included_by", merged.included_by.empty() ? Node::null() : Node::string(merged.included_by));
    row.map_value().set("choice", merged.choice_key.empty() ? Node::null() : Node::string(merged.choice_key));
    rows.push_back(std::move(row));
  }
  if (arguments.wants_json()) out << config::to_json(Node::list(std::move(rows)), 2) << "\n";
  for (const std::string& lint : inspection.lints) err << lint << "\n";
  return 0;
}

int show_groups(const ShowArguments& arguments, const ShowContext& context, std::ostream& out) {
  Node document = Node::map();
  for (const config::GroupListing& listing : config::list_groups(request_of(arguments, context))) {
    document.map_value().set(listing.group, texts(listing.options));
    if (!arguments.wants_json())
      out << fmt::format("{}: {}\n", listing.group, config::join_names(listing.options, 1000));
  }
  if (arguments.wants_json()) out << config::to_json(document, 2) << "\n";
  return 0;
}

int show_roots(const ShowArguments& arguments, const ShowContext& context, std::ostream& out) {
  Node::List rows;
  const auto add = [&](const std::filesystem::path& folder, const char* why) {
    std::error_code error;
    const bool exists = std::filesystem::is_directory(folder.empty() ? "." : folder, error);
    const std::string shown = folder.empty() ? "." : folder.string();
    Node row = Node::map();
    row.map_value().set("root", Node::string(shown));
    row.map_value().set("why", Node::string(why));
    row.map_value().set("exists", Node::boolean(exists));
    rows.push_back(std::move(row));
    if (!arguments.wants_json()) out << fmt::format("{}  ({}{})\n", shown, why, exists ? "" : ", does not exist");
  };
  if (!arguments.file.empty())
    add(config_file(arguments.file, context).parent_path(), "folder of the configuration file");
  for (const std::string& folder : arguments.config_dirs) add(folder, "--config-dir");
  for (const std::filesystem::path& folder : context.builtin_roots) add(folder, "installed with the program");
  if (arguments.wants_json()) out << config::to_json(Node::list(std::move(rows)), 2) << "\n";
  return 0;
}

int show_component(const ShowArguments& arguments, const ShowContext& context, std::ostream& out) {
  if (!context.schema) throw ConfigError("show component: this program carries no schema; build aqlm-exp-trial first");
  const config::Object schema = context.schema();
  if (arguments.wants_json()) {
    out << config::to_json(config::component_data(schema, arguments.component), 2) << "\n";
  } else {
    out << config::describe_component(schema, arguments.component);
  }
  return 0;
}

CLI::App* add_subcommand(CLI::App& app, const char* name, const char* doc, ShowArguments& arguments, bool needs_file) {
  CLI::App* sub = app.add_subcommand(name, doc);
  CLI::Option* file = sub->add_option("FILE", arguments.file, "configuration file");
  if (needs_file) file->required();
  sub->add_option("OVERRIDES", arguments.overrides, "key=value, +key=value, ++key=value, ~key, group=option");
  sub->add_option("--config-dir", arguments.config_dirs, "further folder of groups, searched after the file's own")
      ->take_all();
  sub->add_option("--format", arguments.format, "yaml or json")->check(CLI::IsMember({"yaml", "json"}));
  sub->add_flag("--json", arguments.json, "one JSON document on stdout, also for errors");
  const config::YamlLimits least;
  sub->add_option("--max-file-bytes", arguments.limits.max_bytes, "largest YAML file that is read")
      ->check(CLI::Range(least.max_bytes, size_t{1} << 30))
      ->capture_default_str();
  sub->add_option("--max-nodes", arguments.limits.max_nodes, "most nodes of one YAML file")
      ->check(CLI::Range(least.max_nodes, size_t{100000000}))
      ->capture_default_str();
  return sub;
}

}  // namespace

std::filesystem::path config_file(const std::string& text, const ShowContext& context) {
  constexpr std::string_view kBuiltin = "builtin:";
  if (text.rfind(kBuiltin, 0) != 0 || context.builtin_roots.empty()) return text;
  return context.builtin_roots.front().parent_path() / text.substr(kBuiltin.size());
}

int show_command(const std::vector<std::string>& args, const ShowContext& context, std::ostream& out,
                 std::ostream& err) {
  ShowArguments arguments;
  CLI::App app(
      "Looks inside a configuration without running it.\n\n"
      "  aqlm-exp show config configs/sweep_qwen.yaml method=gptq --at method\n"
      "  aqlm-exp show config configs/sweep_qwen.yaml --origin\n"
      "  aqlm-exp show sweep configs/sweep_qwen.yaml quant.nbits=2,3,4\n",
      "aqlm-exp show");
  app.require_subcommand(1);
  CLI::App* config_command = add_subcommand(app, "config", "the composed tree", arguments, true);
  config_command->add_option("--at", arguments.at, "only the value under this dotted key");
  config_command->add_flag("--resolve", arguments.resolve, "replace ${references} by their values");
  config_command->add_flag("--origin", arguments.origin, "file and line of each value, and what it replaced");
  CLI::App* sweep_command = add_subcommand(app, "sweep", "the trials of a sweep", arguments, true);
  sweep_command->add_option("--max-trials", arguments.max_trials, "largest sweep that is accepted")
      ->capture_default_str();
  CLI::App* tree_command = add_subcommand(app, "tree", "which file brings in which", arguments, true);
  CLI::App* defaults_command = add_subcommand(app, "defaults", "the files in merge order", arguments, true);
  CLI::App* groups_command = add_subcommand(app, "groups", "groups and their options", arguments, false);
  CLI::App* roots_command = add_subcommand(app, "roots", "folders that are searched", arguments, false);
  CLI::App* component_command = app.add_subcommand("component", "keys, types, bounds and defaults");
  component_command->add_option("NAME", arguments.component, "dotted part of the schema, e.g. method.aqlm; empty: all");
  component_command->add_option("--format", arguments.format, "text or json")->check(CLI::IsMember({"text", "json"}));
  component_command->add_flag("--json", arguments.json, "one JSON document on stdout");

  try {
    std::vector<std::string> reversed(args.rbegin(), args.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) {
      out << (app.get_subcommands().empty() ? app.help() : app.get_subcommands().front()->help());
      return 0;
    }
    err << "aqlm-exp show: " << e.what() << "; try 'aqlm-exp show --help'\n";
    return static_cast<int>(ExitCode::kUsage);
  }
  const auto refuse = [&](const std::vector<config::Problem>& problems, ExitCode code) {
    if (arguments.json) {
      out << config::problems_to_json(problems, 2) << "\n";
    } else {
      err << config::problems_to_text(problems) << "\n";
    }
    return static_cast<int>(code);
  };
  try {
    if (*config_command) return show_config(arguments, context, out);
    if (*sweep_command) return show_sweep(arguments, context, out, err);
    if (*tree_command) return show_tree(arguments, context, out, err);
    if (*defaults_command) return show_defaults(arguments, context, out, err);
    if (*groups_command) return show_groups(arguments, context, out);
    if (*roots_command) return show_roots(arguments, context, out);
    if (*component_command) return show_component(arguments, context, out);
  } catch (const config::OverrideSyntaxError& e) {
    return refuse(e.problems(), e.exit_code());
  } catch (const config::CompositionError& e) {
    return refuse(e.problems(), e.exit_code());
  } catch (const Error& e) {
    config::Problem problem{e.code().empty() ? "C104" : e.code(), {}, {}, e.what(), {}};
    if (arguments.json) return refuse({problem}, e.exit_code());
    err << e.what() << "\n";
    return static_cast<int>(e.exit_code());
  }
  return static_cast<int>(ExitCode::kInternal);
}

}  // namespace aqlm_exp::app
