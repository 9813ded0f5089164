#include "framework/config/sweep_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

const std::vector<std::string> kSweepKeys = {"seed", "repeat", "params", "zip", "union", "exclude"};

/// An override of exp.sweep: its key and its alternatives.
struct Entry {
  std::string key;  // "group@package", without + or ~
  std::vector<Override> alternatives;
};

std::string plain_key(const Override& override) {
  return override.key + (override.package ? "@" + *override.package : "");
}

class SpecReader {
 public:
  SpecReader(const std::vector<Override>& command_line, Composer& composer, std::vector<Problem>& problems)
      : command_line_(command_line), composer_(composer), problems_(problems) {}

  SweepSpec run(const Node& exp) {
    SweepSpec spec;
    const Node* sweep = exp.is_map() ? exp.map_value().find("sweep") : nullptr;
    const Node empty = Node::map();
    if (sweep == nullptr || sweep->is_null()) sweep = &empty;
    if (!sweep->is_map()) {
      fault(sweep->mark(), "exp.sweep", fmt::format("'exp.sweep' is a {}, need a map", kind_name(sweep->kind())),
            "its keys are: " + join_names(kSweepKeys));
      sweep = &empty;
    }
    for (const MapEntry& entry : sweep->map_value().entries()) {
      if (std::find(kSweepKeys.begin(), kSweepKeys.end(), entry.key) != kSweepKeys.end()) continue;
      fault(entry.key_mark, "exp.sweep." + entry.key, fmt::format("unknown key 'exp.sweep.{}'", entry.key),
            "keys here: " + join_names(kSweepKeys), did_you_mean(nearest_names(entry.key, kSweepKeys)));
    }
    const NodeMap& map = sweep->map_value();
    spec.seed = integer(map.find("seed"), "exp.sweep.seed", INT64_MIN);
    spec.repeat = integer(map.find("repeat"), "exp.sweep.repeat", 1).value_or(1);
    context_.seed = spec.seed;
    read_command_line();

    Grid main;
    bool has_main = false;
    if (const Node* params = map.find("params"); params != nullptr && !params->is_null()) {
      has_main = read_product(*params, "exp.sweep.params", main) || has_main;
    }
    if (const Node* zip = map.find("zip"); zip != nullptr && !zip->is_null())
      has_main = read_zips(*zip, main) || has_main;
    std::vector<Grid> unions;
    if (const Node* node = map.find("union"); node != nullptr && !node->is_null()) read_unions(*node, unions);
    const bool swept_on_command_line =
        std::any_of(ready_.begin(), ready_.end(), [](const ReadyOverride& item) { return item.is_sweep; });
    if (has_main || unions.empty() || (swept_on_command_line && unions.empty())) spec.grids.push_back(std::move(main));
    for (Grid& grid : unions) spec.grids.push_back(std::move(grid));
    for (Grid& grid : spec.grids) add_command_line(grid);
    if (const Node* exclude = map.find("exclude"); exclude != nullptr && !exclude->is_null())
      read_exclusions(*exclude, spec);
    return spec;
  }

 private:
  void fault(const Mark& mark, std::string path, std::string message, std::string help, std::string hint = {},
             const char* code = "W103") {
    Problem problem{code, mark, std::move(path), std::move(message), std::move(help)};
    problem.hint = std::move(hint);
    problems_.push_back(std::move(problem));
  }

  std::optional<int64_t> integer(const Node* node, const std::string& path, int64_t min) {
    if (node == nullptr || node->is_null()) return std::nullopt;
    if (!node->is_int() || node->as_int() < min) {
      fault(node->mark(), path,
            fmt::format("'{}' got {}, need an integer{}", path, to_json(*node), min == 1 ? " >= 1" : ""), {});
      return std::nullopt;
    }
    return node->as_int();
  }

  /// Later overrides of one key replace earlier ones, unless both are fixed maps, which merge.
  void read_command_line() {
    for (const Override& override : command_line_) {
      auto ready = composer_.evaluate(override, context_, problems_);
      if (!ready) continue;
      const auto same = std::find_if(ready_.begin(), ready_.end(), [&](const ReadyOverride& earlier) {
        return earlier.override.key_text() == ready->override.key_text();
      });
      const auto is_map = [](const ReadyOverride& item) {
        return !item.is_sweep && item.override.has_value && item.override.elements.front().kind == Element::Kind::kMap;
      };
      if (same == ready_.end() || (is_map(*same) && is_map(*ready))) {
        ready_.push_back(std::move(*ready));
      } else {
        *same = std::move(*ready);
      }
    }
  }

  bool is_overridden(const std::string& key) const {
    return std::any_of(ready_.begin(), ready_.end(),
                       [&](const ReadyOverride& item) { return plain_key(item.override) == key; });
  }

  static Dimension dimension_of(const ReadyOverride& item) {
    Dimension out;
    out.is_swept = item.is_sweep;
    if (item.is_sweep) {
      for (const Override& alternative : item.alternatives) out.alternatives.push_back({alternative});
    } else {
      out.alternatives.push_back({item.override});
    }
    return out;
  }

  /// Where the text of a YAML string starts: behind its quote, if it has one.
  Mark text_mark(const Node& value) const {
    Mark mark = value.mark();
    const std::string line = composer_.files().sources().line(mark);
    int column = 0;
    for (const char c : line) {
      column += (c & 0xC0) != 0x80 ? 1 : 0;
      if (column < mark.column) continue;
      if (c == '"' || c == '\'') ++mark.column;
      break;
    }
    return mark;
  }

  /// The entry `key: text` of a map under exp.sweep. nullopt: reported.
  std::optional<Entry> read_entry(const MapEntry& entry, const std::string& path) {
    auto override = parse_override(entry.key + "=", entry.key_mark, problems_);
    if (!override) return std::nullopt;
    const Node& value = entry.value;
    override->has_value = true;
    override->mark = entry.key_mark;
    override->value_mark = value.mark();
    if (value.is_string()) {
      auto elements = parse_value(value.as_string(), text_mark(value), problems_);
      if (!elements) return std::nullopt;
      override->elements = std::move(*elements);
    } else if (value.is_list()) {
      std::string inner;
      for (const Node& item : value.items()) inner += (inner.empty() ? "" : ",") + print_element(element_of(item));
      fault(value.mark(), path, fmt::format("'{}' is a list, need text as on the command line", path),
            fmt::format("write \"{0}\" to sweep over the elements, \"[{0}]\" for one list", inner));
      return std::nullopt;
    } else if (value.is_map()) {
      fault(value.mark(), path, fmt::format("'{}' is a map, need text as on the command line", path),
            fmt::format("write dotted keys: {}.KEY: \"a,b\"", entry.key));
      return std::nullopt;
    } else {
      override->elements = {element_of(value)};
    }
    override->text = print_override(*override);
    auto ready = composer_.evaluate(*override, context_, problems_);
    if (!ready) return std::nullopt;
    Entry out;
    out.key = plain_key(*override);
    if (ready->is_sweep) {
      out.alternatives = std::move(ready->alternatives);
    } else {
      out.alternatives.push_back(std::move(ready->override));
    }
    return out;
  }

  /// A map of independent entries. Returns false for an empty one.
  bool read_product(const Node& node, const std::string& path, Grid& grid) {
    if (!node.is_map()) {
      fault(node.mark(), path, fmt::format("'{}' is a {}, need a map", path, kind_name(node.kind())),
            "write KEY: \"a,b\" lines");
      return false;
    }
    for (const MapEntry& entry : node.map_value().entries()) {
      std::optional<Entry> read = read_entry(entry, path + "." + entry.key);
      if (!read) continue;
      Dimension dimension;
      dimension.is_swept = true;
      if (!add_key(grid, read->key, entry.key_mark)) continue;
      for (Override& alternative : read->alternatives) dimension.alternatives.push_back({std::move(alternative)});
      replace_from_command_line(read->key, dimension);
      grid.push_back(std::move(dimension));
    }
    return !node.map_value().empty();
  }

  /// The command line's values in place of the file's, at the file's place in the order.
  void replace_from_command_line(const std::string& key, Dimension& dimension) const {
    for (const ReadyOverride& item : ready_) {
      if (plain_key(item.override) == key) dimension = dimension_of(item);
    }
  }

  bool add_key(const Grid& grid, const std::string& key, const Mark& mark) {
    for (const Dimension& dimension : grid) {
      for (const Override& override : dimension.alternatives.front()) {
        if (plain_key(override) != key) continue;
        fault(mark, key, fmt::format("'{}' is swept twice, first at {}", key, override.mark.str()),
              "keep one of the two");
        return false;
      }
    }
    return true;
  }

  bool read_zips(const Node& node, Grid& grid) {
    const std::vector<Node> single = {node};
    if (!node.is_list() && !node.is_map()) {
      fault(node.mark(), "exp.sweep.zip",
            fmt::format("'exp.sweep.zip' is a {}, need a list of maps", kind_name(node.kind())),
            "write - {a: \"1,2\", b: \"x,y\"}");
      return false;
    }
    bool any = false;
    size_t index = 0;
    for (const Node& item : node.is_list() ? node.items() : single) {
      any = read_zip(item, fmt::format("exp.sweep.zip[{}]", index++), grid) || any;
    }
    return any;
  }

  bool read_zip(const Node& node, const std::string& path, Grid& grid) {
    if (!node.is_map()) {
      fault(node.mark(), path, fmt::format("'{}' is a {}, need a map", path, kind_name(node.kind())),
            "write {a: \"1,2\", b: \"x,y\"}");
      return false;
    }
    Dimension dimension;
    dimension.is_swept = true;
    std::string first;
    for (const MapEntry& entry : node.map_value().entries()) {
      std::optional<Entry> read = read_entry(entry, path + "." + entry.key);
      if (!read || !add_key(grid, read->key, entry.key_mark) || is_overridden(read->key)) continue;
      const size_t length = read->alternatives.size();
      if (first.empty()) {
        first = entry.key;
        dimension.alternatives.resize(length);
      } else if (dimension.alternatives.size() != length) {
        fault(entry.value.mark(), path,
              fmt::format("'{}' pairs {} values of '{}' with {} of '{}', need equal numbers", path,
                          dimension.alternatives.size(), first, length, entry.key),
              "add or remove values, or sweep the keys independently under params", {}, "W102");
        continue;
      }
      for (size_t i = 0; i < length; ++i) dimension.alternatives[i].push_back(std::move(read->alternatives[i]));
    }
    if (dimension.alternatives.empty()) return !node.map_value().empty();
    grid.push_back(std::move(dimension));
    return true;
  }

  void read_unions(const Node& node, std::vector<Grid>& grids) {
    const std::vector<Node> single = {node};
    if (!node.is_list() && !node.is_map()) {
      fault(node.mark(), "exp.sweep.union",
            fmt::format("'exp.sweep.union' is a {}, need a list of maps", kind_name(node.kind())),
            "write - {key: \"a,b\"}");
      return;
    }
    size_t index = 0;
    for (const Node& item : node.is_list() ? node.items() : single) {
      Grid grid;
      if (read_product(item, fmt::format("exp.sweep.union[{}]", index++), grid)) grids.push_back(std::move(grid));
    }
  }

  /// Overrides that no entry of the grid has taken in.
  void add_command_line(Grid& grid) const {
    for (const ReadyOverride& item : ready_) {
      const std::string key = plain_key(item.override);
      const bool taken = std::any_of(grid.begin(), grid.end(), [&](const Dimension& dimension) {
        return dimension.alternatives.front().size() == 1 && plain_key(dimension.alternatives.front().front()) == key &&
               dimension.alternatives.front().front().mark.source == item.override.mark.source;
      });
      if (!taken) grid.push_back(dimension_of(item));
    }
  }

  void read_exclusions(const Node& node, SweepSpec& spec) {
    const std::vector<Node> single = {node};
    if (!node.is_list() && !node.is_map()) {
      fault(node.mark(), "exp.sweep.exclude",
            fmt::format("'exp.sweep.exclude' is a {}, need a list of maps", kind_name(node.kind())),
            "write - {key: value}");
      return;
    }
    size_t index = 0;
    for (const Node& item : node.is_list() ? node.items() : single) {
      const std::string path = fmt::format("exp.sweep.exclude[{}]", index++);
      if (!item.is_map() || item.map_value().empty()) {
        fault(item.mark(), path,
              fmt::format("'{}' is {}, need a map of keys and values", path,
                          item.is_map() ? "empty" : kind_name(item.kind())),
              "write {quantizer.nbits: 4, model: qwen}");
        continue;
      }
      Exclusion exclusion;
      exclusion.mark = item.mark();
      for (const MapEntry& entry : item.map_value().entries()) exclusion.values.emplace_back(entry.key, entry.value);
      spec.exclusions.push_back(std::move(exclusion));
    }
  }

  const std::vector<Override>& command_line_;
  Composer& composer_;
  std::vector<Problem>& problems_;
  ValueContext context_;
  std::vector<ReadyOverride> ready_;
};

}  // namespace

SweepSpec read_sweep(const Node& exp, const std::vector<Override>& command_line, Composer& composer,
                     std::vector<Problem>& problems) {
  return SpecReader(command_line, composer, problems).run(exp);
}

}  // namespace aqlm_exp::config
