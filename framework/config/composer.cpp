#include "framework/config/composer.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "framework/config/merge.h"

namespace aqlm_exp::config {
namespace {

const std::vector<std::string> kRawKeys = {"exp.sweep"};  // sweep texts are overrides, read later

/// Option named by a scalar: 4 and true may be file names.
std::optional<std::string> option_text(const Element& element) {
  if (element.kind == Element::Kind::kQuoted) return element.value.as_string();
  if (element.kind != Element::Kind::kBare || element.value.is_null()) return std::nullopt;
  return scalar_text(element.value);
}

bool is_null(const Element& element) { return element.kind == Element::Kind::kBare && element.value.is_null(); }

std::string natural_package(std::string group) {
  std::replace(group.begin(), group.end(), '/', '.');
  return group;
}

/// "group" or "group@package".
std::string choice_key(const Override& override) {
  if (!override.package || *override.package == natural_package(override.key)) return override.key;
  return override.key + "@" + *override.package;
}

}  // namespace

std::vector<Override> parse_overrides(const std::vector<std::string>& texts, Sources& sources,
                                      std::vector<Problem>& problems) {
  std::vector<Override> out;
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string source = fmt::format("override #{}", i + 1);
    sources.add(source, texts[i]);
    if (auto override = parse_override(texts[i], Mark{source, 0, 1}, problems)) out.push_back(std::move(*override));
  }
  return out;
}

Composer::Composer(const ComposeRequest& request)
    : request_(request), files_(request.file, request.roots, request.limits) {}

bool Composer::is_choice(const Override& override) {
  if (override.key.find('.') != std::string::npos && override.key.find('/') == std::string::npos) return false;
  const bool is_map = override.has_value && override.elements.front().kind == Element::Kind::kMap;
  return !is_map && files_.group_exists(override.key);
}

std::optional<ReadyOverride> Composer::evaluate(const Override& override, const ValueContext& context,
                                                std::vector<Problem>& problems) {
  ReadyOverride out;
  out.override = override;
  if (!override.has_value) return out;
  ValueContext own = context;
  if (files_.group_exists(override.key)) {
    own.group_options = [this, group = override.key] { return files_.options(group); };
  }
  auto values = evaluate_values(override.elements, own, problems);
  if (!values) return std::nullopt;
  out.is_sweep = values->is_sweep;
  if (!values->is_sweep) {
    out.override.elements = std::move(values->values);
    return out;
  }
  for (Element& value : values->values) {
    Override alternative = override;
    alternative.elements = {std::move(value)};
    alternative.text = print_override(alternative);
    out.alternatives.push_back(std::move(alternative));
  }
  out.override = out.alternatives.front();
  return out;
}

void Composer::add_choice(const Override& override, ChoiceOverrides& choices, std::vector<Problem>& problems) {
  const auto refuse = [&](std::string message, std::string help) {
    Problem problem{"D117", override.mark, override.key, std::move(message), std::move(help)};
    problem.length = static_cast<int>(override.text.size());
    problems.push_back(std::move(problem));
  };
  const std::string key = choice_key(override);
  if (override.kind == Override::Kind::kDelete) {
    ChoiceOverrides::Deletion deletion{std::nullopt, override.mark, override.text};
    if (override.has_value && !is_null(override.elements.front())) {
      deletion.option = option_text(override.elements.front());
      if (!deletion.option) {
        refuse(fmt::format("~{} takes the name of one option", key), fmt::format("write ~{} or ~{}=OPTION", key, key));
        return;
      }
    }
    choices.deletions.insert_or_assign(key, std::move(deletion));
    return;
  }
  if (override.kind == Override::Kind::kForce) {
    refuse(fmt::format("'++' does not apply to the group '{}'", key),
           fmt::format("use {} to change a choice of the defaults lists, +{} to add one", override.text.substr(2),
                       override.text.substr(2)));
    return;
  }
  Option option;
  const Element& value = override.elements.front();
  if (value.kind == Element::Kind::kList) {
    option.is_list = true;
    for (const Element& item : value.items) {
      const auto name = option_text(item);
      if (!name) {
        refuse(fmt::format("a list of options of group '{}' holds names only", key),
               fmt::format("write {}=[a,b]", key));
        return;
      }
      option.names.push_back(*name);
    }
  } else if (!is_null(value)) {
    const auto name = option_text(value);
    if (!name || name->empty()) {
      refuse(
          fmt::format("group '{}' takes the name of an option, a list of names or null", key), "options are: " + [&] {
            std::string names;
            for (const std::string& known : files_.options(override.key)) names += (names.empty() ? "" : ", ") + known;
            return names;
          }());
      return;
    }
    option.names.push_back(*name);
  }
  if (override.kind == Override::Kind::kAdd) {
    DefaultsItem item;
    item.kind = DefaultsItem::Kind::kChoice;
    item.path = override.key;
    item.package = override.package;
    item.from_command_line = true;
    item.option = std::move(option);
    item.mark = override.mark;
    item.option_mark = override.value_mark;
    choices.additions.push_back(std::move(item));
    return;
  }
  choices.choices.insert_or_assign(
      key, ChoiceOverrides::Choice{std::move(option), override.mark, override.value_mark, override.text});
}

const Composer::Base& Composer::base(const std::vector<const Override*>& overrides, bool skip_missing) {
  std::string signature = skip_missing ? "skip" : "full";
  std::vector<const Override*> choosing;
  for (const Override* override : overrides) {
    if (!is_choice(*override)) continue;
    choosing.push_back(override);
    signature += "\n" + print_override(*override);
  }
  std::unique_ptr<Base>& entry = bases_[signature];
  if (entry) return *entry;
  entry = std::make_unique<Base>();
  ChoiceOverrides choices;
  for (const Override* override : choosing) add_choice(*override, choices, entry->problems);
  entry->defaults = expand_defaults(files_, choices, skip_missing, entry->problems);
  entry->tree = Node::map(Mark{files_.read().empty() ? std::string() : files_.read().front()->source, 1, 1});
  Overwritten* overwritten = request_.record_overwritten ? &entry->overwritten : nullptr;
  for (const DefaultsResult& result : entry->defaults.results) {
    if (result.file->body.map_value().empty() && result.package.empty()) continue;
    merge_at(entry->tree, result.package, result.file->body, entry->problems, overwritten);
  }
  return *entry;
}

const Defaults& Composer::defaults(const std::vector<const Override*>& overrides, bool skip_missing,
                                   std::vector<Problem>& problems) {
  const Base& found = base(overrides, skip_missing);
  problems.insert(problems.end(), found.problems.begin(), found.problems.end());
  return found.defaults;
}

Composer::Tree Composer::compose(const std::vector<const Override*>& overrides, bool skip_missing,
                                 std::vector<Problem>& problems) {
  const size_t problems_before = problems.size();
  const Base& found = base(overrides, skip_missing);
  problems.insert(problems.end(), found.problems.begin(), found.problems.end());
  Tree out;
  out.tree = found.tree;
  out.overwritten = found.overwritten;
  for (const auto& [key, option] : found.defaults.choices) out.choices[key] = option.str();
  Overwritten* overwritten = request_.record_overwritten ? &out.overwritten : nullptr;
  // With a broken file or choice, unknown keys are only consequences.
  if (problems.size() == problems_before) {
    for (const Override* override : overrides) {
      if (!is_choice(*override)) apply_override(out.tree, *override, &files_, problems, overwritten);
    }
  }
  if (request_.resolve && problems.size() == problems_before) {
    InterpolationResult resolved = resolve_references(out.tree, problems, kRawKeys);
    out.tree = std::move(resolved.tree);
    out.environment = std::move(resolved.environment);
  }
  out.exp = Node::map();
  if (Node* exp = out.tree.map_value().find("exp")) {
    if (exp->is_map()) {
      out.exp = std::move(*exp);
    } else if (!exp->is_null()) {
      problems.push_back({"W103", exp->mark(), "exp", fmt::format("'exp' is a {}, need a map", kind_name(exp->kind())),
                          "it is the reserved node: sweep, launcher, output, report"});
    }
    out.tree.map_value().erase("exp");
  }
  return out;
}

std::vector<std::string> Composer::file_names() const {
  std::vector<std::string> out;
  for (const ConfigFile* file : files_.read()) out.push_back(file->source);
  return out;
}

std::vector<FileRecord> Composer::file_records() const {
  std::vector<FileRecord> out;
  for (const ConfigFile* file : files_.read()) out.push_back({file->source, file->sha256});
  return out;
}

void Composer::finish(std::vector<Problem>& problems) {
  std::map<std::string, size_t> order;
  for (const ConfigFile* file : files_.read()) order.emplace(file->source, order.size());
  const auto place = [&](const Problem& problem) {
    const auto found = order.find(problem.mark.source);
    return std::make_tuple(found == order.end() ? order.size() : found->second, problem.mark.source.size(),
                           problem.mark.source, problem.mark.line, problem.mark.column);
  };
  std::stable_sort(problems.begin(), problems.end(),
                   [&](const Problem& a, const Problem& b) { return place(a) < place(b); });
  std::set<std::string> seen;
  std::vector<Problem> kept;
  for (Problem& problem : problems) {
    if (seen.insert(problem.code + problem.mark.str() + problem.message).second) kept.push_back(std::move(problem));
  }
  problems = std::move(kept);
  files_.sources().attach(problems);
}

Composition compose(const ComposeRequest& request) {
  Composer composer(request);
  std::vector<Problem> problems;
  const std::vector<Override> parsed = parse_overrides(request.overrides, composer.files().sources(), problems);
  std::vector<ReadyOverride> ready;
  std::vector<Problem> value_problems;
  for (const Override& override : parsed) {
    ValueContext context;
    auto value = composer.evaluate(override, context, value_problems);
    if (!value) continue;
    if (value->is_sweep) {
      Problem problem{"W101", override.value_mark, override.key,
                      fmt::format("'{}' holds a sweep, need one value here", override.text),
                      fmt::format("for a list write {0}=[...]; for text quote it: {0}='...'; to run each value use "
                                  "'run', 'plan' or 'show sweep'",
                                  override.key_text())};
      problem.length =
          static_cast<int>(override.text.size() - std::min(override.text.size(), override.text.find('=') + 1));
      value_problems.push_back(std::move(problem));
    }
    ready.push_back(std::move(*value));
  }
  std::vector<Problem> syntax = std::move(problems), other;  // syntax faults exit with another code
  for (Problem& problem : value_problems) (problem.code[0] == 'O' ? syntax : other).push_back(std::move(problem));
  if (!syntax.empty()) {
    composer.finish(syntax);
    throw OverrideSyntaxError(std::move(syntax));
  }
  std::vector<const Override*> overrides;
  for (const ReadyOverride& item : ready) overrides.push_back(&item.override);
  Composer::Tree tree = composer.compose(overrides, /*skip_missing=*/false, other);
  if (!other.empty()) {
    composer.finish(other);
    throw CompositionError(std::move(other));
  }
  Composition out;
  out.tree = std::move(tree.tree);
  out.exp = std::move(tree.exp);
  out.choices = std::move(tree.choices);
  out.environment = std::move(tree.environment);
  out.overwritten = std::move(tree.overwritten);
  out.files = composer.file_names();
  out.file_records = composer.file_records();
  out.sources = composer.files().shared_sources();
  return out;
}

}  // namespace aqlm_exp::config
