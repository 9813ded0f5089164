// The grammar of command-line overrides (design/experiments.md 1.7):
//
//   override = [ "+" | "++" ] key "=" [ value ] | "~" key [ "=" [ value ] ] ;
//   key      = part { "." part } | group [ "@" package ] ;
//   value    = element { "," element } ;                       two or more = sweep
//   element  = quoted | list | map | call | bare ;
//
// Parsing keeps the text's structure; sweep_values.h computes what calls mean.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "framework/config/node.h"
#include "framework/config/problem.h"

namespace aqlm_exp::config {

struct Element {
  enum class Kind { kBare, kQuoted, kList, kMap, kCall };
  Kind kind = Kind::kBare;
  Node value;                      ///< typed value of kBare and kQuoted
  std::string name;                ///< function of a kCall
  char quote = '\'';               ///< of kQuoted
  std::vector<Element> items;      ///< elements of a list, values of a map, arguments of a call
  std::vector<std::string> names;  ///< keys of a map; names of arguments, "" where positional
  Mark mark;
};

struct Override {
  enum class Kind { kSet, kAdd, kForce, kDelete };  ///< key=, +key=, ++key=, ~key
  Kind kind = Kind::kSet;
  std::string key;                     ///< "a.b.0" or "group/sub"
  std::optional<std::string> package;  ///< of group@package
  bool has_value = false;              ///< false only for ~key
  std::vector<Element> elements;       ///< one, or several for a sweep
  std::string text;                    ///< as typed
  Mark mark;                           ///< of the first character
  Mark value_mark;                     ///< of the value

  /// "+group@package": prefix, key and package as written.
  std::string key_text() const;
};

/// Parses one override. `base` is the place of its first character: {"override #2", 0, 1}, or a place in a YAML file.
/// Faults (O1xx) are appended and nothing is returned.
std::optional<Override> parse_override(std::string_view text, const Mark& base, std::vector<Problem>& problems);

/// Parses a value alone, as in `exp.sweep.params`: one element, or several for a sweep; empty text is one empty string.
std::optional<std::vector<Element>> parse_value(std::string_view text, const Mark& base,
                                                std::vector<Problem>& problems);

/// Text that parses to the same element: numbers in one spelling, strings with quotes or escapes where needed.
std::string print_element(const Element& element);
std::string print_override(const Override& override);
/// A null, boolean, number or string as the name of an option: "4" of 4.yaml, "true" of true.yaml.
std::string scalar_text(const Node& value);

/// Element for a value, e.g. one computed by range().
Element element_of(const Node& value);
/// The value of an element without calls. Maps and lists included. @throws InternalError on a call
Node node_of(const Element& element);

}  // namespace aqlm_exp::config
