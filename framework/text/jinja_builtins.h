// Filters, tests and methods of chat templates: those of Jinja2 and Python that published templates call.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/text/jinja_value.h"

namespace aqlm_exp::text::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// The argument at `index` or called `name`; undefined if neither is given.
  Value get(size_t index, std::string_view name) const;
};

inline constexpr size_t kMaxValueBytes = 64 << 20;  // of any string or output

/// These throw std::invalid_argument with what was wrong; `known` is false if there is no such filter, test or method.
Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, bool& known);
bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, bool& known);
Value call_method(const Value& object, std::string_view name, const Arguments& arguments, bool& known);

/// What a for loop runs over. @throws std::invalid_argument
List to_list(const Value& value);
/// Python's `needle in haystack`. @throws std::invalid_argument
bool contains(const Value& haystack, const Value& needle);
/// object.name or object["name"]; undefined if absent.
Value member(const Value& object, const Value& key);
/// object[start:stop:step]; undefined parts are absent. @throws std::invalid_argument
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);

}  // namespace aqlm_exp::text::jinja
