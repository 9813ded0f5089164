#include "framework/text/jinja_builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "framework/base/utf8.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::text::jinja {
namespace {

using Kind = Value::Kind;

[[noreturn]] void fail(const std::string& message) { throw std::invalid_argument(message); }

const std::string& need_string(const Value& value, std::string_view what) {
  if (!value.is(Kind::kString)) fail(fmt::format("{} needs a string, got {}", what, value.type_name()));
  return value.as_string();
}
int64_t need_int(const Value& value, std::string_view what) {
  if (!value.is(Kind::kInt) && !value.is(Kind::kBool))
    fail(fmt::format("{} needs an integer, got {}", what, value.type_name()));
  return value.as_int();
}
const Dict& need_dict(const Value& value, std::string_view what) {
  if (!value.is(Kind::kDict)) fail(fmt::format("{} needs a mapping, got {}", what, value.type_name()));
  return value.as_dict();
}

std::vector<std::string> code_points(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at < text.size();) {
    const size_t size = utf8_decode(text, at).size_bytes;
    out.push_back(text.substr(at, size));
    at += size;
  }
  return out;
}

/// Python's strip: of white space, or of any of the code points in `set`.
std::string strip(const std::string& text, const Value& set, bool left, bool right) {
  const bool spaces = set.is(Kind::kUndefined) || set.is(Kind::kNone);
  const std::string chars = spaces ? "" : need_string(set, "strip");
  const auto goes = [&](size_t begin, size_t size) {
    if (!spaces) return chars.find(text.substr(begin, size)) != std::string::npos;
    const char32_t c = utf8_decode(text, begin).value;
    return is_space(c) || (c >= 0x1C && c <= 0x1F);  // Python counts the four separators as white space
  };
  size_t begin = 0;
  while (left && begin < text.size()) {
    const size_t size = utf8_decode(text, begin).size_bytes;
    if (!goes(begin, size)) break;
    begin += size;
  }
  size_t end = text.size();
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
    if (!goes(last, end - last)) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::string title(const std::string& text) {
  std::string out;
  bool inside = false;
  for (const std::string& c : code_points(text)) {
    const bool letter = is_word(utf8_decode(c, 0).value) && !is_numeric(utf8_decode(c, 0).value) && c != "_";
    out += letter ? (inside ? to_lower(c) : to_upper(c)) : c;
    inside = letter;
  }
  return out;
}

std::string replace(const std::string& text, const std::string& from, const std::string& to, int64_t limit) {
  std::string out;
  size_t at = 0;
  if (from.empty()) {  // Python: between all code points
    for (const std::string& c : code_points(text)) {
      if (limit-- != 0) out += to;
      out += c;
      if (out.size() > kMaxValueBytes) fail("a string grows beyond 64 MiB");
    }
    return limit != 0 ? out + to : out;
  }
  for (size_t found = text.find(from); found != std::string::npos && limit != 0; found = text.find(from, at), --limit) {
    out.append(text, at, found - at);
    out += to;
    at = found + from.size();
    if (out.size() > kMaxValueBytes) fail("a string grows beyond 64 MiB");
  }
  out.append(text, at);
  return out;
}

Value split(const std::string& text, const Value& separator, int64_t limit, bool from_right) {
  List parts;
  if (separator.is(Kind::kUndefined) || separator.is(Kind::kNone)) {
    if (from_right && limit >= 0) fail("rsplit without a separator takes no limit here");
    size_t at = 0;
    while (at < text.size()) {
      const std::string rest = strip(text.substr(at), Value(), true, false);
      at = text.size() - rest.size();
      if (rest.empty()) break;
      if (limit-- == 0) {
        parts.push_back(Value::string(strip(rest, Value(), false, true)));
        break;
      }
      size_t end = at;
      while (end < text.size() && !is_space(utf8_decode(text, end).value)) end += utf8_decode(text, end).size_bytes;
      parts.push_back(Value::string(text.substr(at, end - at)));
      at = end;
    }
    return Value::list(std::move(parts));
  }
  const std::string& by = need_string(separator, "split");
  if (by.empty()) fail("split needs a separator that is not empty");
  if (from_right) {
    size_t end = text.size();
    for (; limit != 0; --limit) {
      const size_t found = end >= by.size() ? text.rfind(by, end - by.size()) : std::string::npos;
      if (found == std::string::npos) break;
      parts.insert(parts.begin(), Value::string(text.substr(found + by.size(), end - found - by.size())));
      end = found;
    }
    parts.insert(parts.begin(), Value::string(text.substr(0, end)));
    return Value::list(std::move(parts));
  }
  size_t at = 0;
  for (size_t found = text.find(by); found != std::string::npos && limit != 0; found = text.find(by, at), --limit) {
    parts.push_back(Value::string(text.substr(at, found - at)));
    at = found + by.size();
  }
  parts.push_back(Value::string(text.substr(at)));
  return Value::list(std::move(parts));
}

Value items_of(const Value& value) {
  List items;
  for (const auto& [key, entry] : need_dict(value, "items")) items.push_back(Value::tuple({Value::string(key), entry}));
  return Value::list(std::move(items));
}

/// `attribute="a.b"` of map, selectattr, sort and others.
Value attribute_of(Value value, const std::string& path) {
  size_t at = 0;
  for (;;) {
    const size_t dot = path.find('.', at);
    value = member(value, Value::string(path.substr(at, dot - at)));
    if (dot == std::string::npos) return value;
    at = dot + 1;
  }
}

Value select(const Value& value, const Arguments& arguments, bool by_attribute, bool keep, bool& known) {
  List kept;
  const size_t skip = by_attribute ? 1 : 0;
  const std::string attribute = by_attribute ? need_string(arguments.get(0, ""), "selectattr") : "";
  for (const Value& entry : to_list(value)) {
    const Value subject = by_attribute ? attribute_of(entry, attribute) : entry;
    bool result = subject.truthy();
    if (arguments.positional.size() > skip) {
      Arguments rest;
      rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1,
                             arguments.positional.end());
      result = apply_test(need_string(arguments.positional[skip], "select"), subject, rest, known);
    }
    if (result == keep) kept.push_back(entry);
  }
  return Value::list(std::move(kept));
}

Value to_int(const Value& value, const Value& fallback) {
  const int64_t otherwise = fallback.is(Kind::kUndefined) ? 0 : need_int(fallback, "int");
  if (value.is(Kind::kFloat)) {
    const double number = value.as_double();
    return Value::integer(std::isfinite(number) && std::fabs(number) < 9e18 ? static_cast<int64_t>(number) : otherwise);
  }
  if (value.is_number()) return Value::integer(value.as_int());
  if (!value.is(Kind::kString)) return Value::integer(otherwise);
  const std::string text = strip(value.as_string(), Value(), true, true);
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  const bool whole =
      !text.empty() && end == text.c_str() + text.size() && std::isfinite(number) && std::fabs(number) < 9e15;
  return Value::integer(whole ? static_cast<int64_t>(number) : otherwise);
}

Value indent(const std::string& text, const Arguments& arguments) {
  const Value width = arguments.get(0, "width");
  const bool first = arguments.get(1, "first").truthy();
  const bool blank = arguments.get(2, "blank").truthy();
  std::string pad;
  if (width.is(Kind::kString)) {
    pad = width.as_string();
  } else {
    const int64_t count = width.is(Kind::kUndefined) ? 4 : need_int(width, "indent");
    if (count > 1000) fail("indent of more than 1000 blanks");
    pad.assign(static_cast<size_t>(std::max<int64_t>(0, count)), ' ');
  }
  std::string out = first ? pad : "";
  for (size_t at = 0; at < text.size();) {
    const size_t newline = text.find('\n', at);
    if (newline == std::string::npos) return Value::string(out + text.substr(at));
    out.append(text, at, newline + 1 - at);
    at = newline + 1;
    const bool empty = at >= text.size() || text[at] == '\n';
    if (!empty || blank) out += pad;
    if (out.size() > kMaxValueBytes) fail("a string grows beyond 64 MiB");
  }
  return Value::string(std::move(out));
}

Value unique(const Value& value) {
  List kept;
  for (const Value& entry : to_list(value)) {
    if (std::find(kept.begin(), kept.end(), entry) == kept.end()) kept.push_back(entry);
  }
  return Value::list(std::move(kept));
}

Value sorted(const Value& value, const Arguments& arguments) {
  List entries = to_list(value);
  const bool case_sensitive = arguments.get(1, "case_sensitive").truthy();
  const Value attribute = arguments.get(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& entry : entries) {
    Value key = attribute.is(Kind::kString) ? attribute_of(entry, attribute.as_string()) : entry;
    if (key.is(Kind::kString) && !case_sensitive) key = Value::string(to_lower(key.as_string()));
    keyed.emplace_back(std::move(key), entry);
  }
  std::stable_sort(keyed.begin(), keyed.end(),
                   [](const auto& a, const auto& b) { return Value::less(a.first, b.first); });
  if (arguments.get(0, "reverse").truthy()) {  // stable in reverse, as Python's
    std::reverse(keyed.begin(), keyed.end());
    std::stable_sort(keyed.begin(), keyed.end(),
                     [](const auto& a, const auto& b) { return Value::less(b.first, a.first); });
  }
  List out;
  for (auto& [key, entry] : keyed) out.push_back(std::move(entry));
  return Value::list(std::move(out));
}

Value join(const Value& value, const Arguments& arguments) {
  const Value separator = arguments.get(0, "d");
  const Value attribute = arguments.get(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& entry : to_list(value)) {
    if (!first && !separator.is(Kind::kUndefined)) out += separator.to_text();
    first = false;
    out += (attribute.is(Kind::kString) ? attribute_of(entry, attribute.as_string()) : entry).to_text();
    if (out.size() > kMaxValueBytes) fail("a string grows beyond 64 MiB");
  }
  return Value::string(std::move(out));
}

Value map(const Value& value, const Arguments& arguments, bool& known) {
  List out;
  const Value attribute = arguments.get(size_t(-1), "attribute");
  const Value fallback = arguments.get(size_t(-1), "default");
  for (const Value& entry : to_list(value)) {
    if (attribute.is(Kind::kString)) {
      Value found = attribute_of(entry, attribute.as_string());
      out.push_back(found.is(Kind::kUndefined) ? fallback : found);
      continue;
    }
    Arguments rest;
    if (arguments.positional.empty()) fail("map needs a filter's name or attribute=");
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    out.push_back(apply_filter(need_string(arguments.positional[0], "map"), entry, rest, known));
  }
  return Value::list(std::move(out));
}

}  // namespace

Value Arguments::get(size_t index, std::string_view name) const {
  if (index < positional.size()) return positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return value;
  }
  return {};
}

List to_list(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return {};
    case Kind::kList:
      return value.as_list();
    case Kind::kDict: {
      List keys;
      for (const auto& [key, entry] : value.as_dict()) keys.push_back(Value::string(key));
      return keys;
    }
    case Kind::kString: {
      List out;
      for (std::string& c : code_points(value.as_string())) out.push_back(Value::string(std::move(c)));
      return out;
    }
    default:
      fail(fmt::format("{} cannot be run over", value.type_name()));
  }
}

bool contains(const Value& haystack, const Value& needle) {
  switch (haystack.kind()) {
    case Kind::kString:
      return haystack.as_string().find(need_string(needle, "in")) != std::string::npos;
    case Kind::kDict:
      return needle.is(Kind::kString) && haystack.find(needle.as_string()) != nullptr;
    case Kind::kList:
      return std::find(haystack.as_list().begin(), haystack.as_list().end(), needle) != haystack.as_list().end();
    case Kind::kUndefined:
      return false;
    default:
      fail(fmt::format("\"in\" needs a string, list or mapping, got {}", haystack.type_name()));
  }
}

Value member(const Value& object, const Value& key) {
  if ((object.is(Kind::kDict) || object.is(Kind::kNamespace)) && key.is(Kind::kString)) {
    const Value* found = object.find(key.as_string());
    return found == nullptr ? Value() : *found;
  }
  if (object.is(Kind::kList) && key.is(Kind::kInt)) {
    const List& entries = object.as_list();
    const auto size = static_cast<int64_t>(entries.size());
    const int64_t index = key.as_int() < 0 ? key.as_int() + size : key.as_int();
    return index >= 0 && index < size ? entries[static_cast<size_t>(index)] : Value();
  }
  if (object.is(Kind::kString) && key.is(Kind::kInt)) {
    const std::string& text = object.as_string();
    int64_t left = key.as_int();
    if (left < 0) {
      for (char c : text) left += (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // one for each code point
      if (left < 0) return {};
    }
    for (size_t at = 0; at < text.size(); --left) {
      const size_t size = utf8_decode(text, at).size_bytes;
      if (left == 0) return Value::string(text.substr(at, size));
      at += size;
    }
    return {};
  }
  return {};
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  if (!object.is(Kind::kList) && !object.is(Kind::kString))
    fail(fmt::format("{} cannot be sliced", object.type_name()));
  const auto absent = [](const Value& value) { return value.is(Kind::kUndefined) || value.is(Kind::kNone); };
  const List entries = to_list(object);
  const auto size = static_cast<int64_t>(entries.size());
  const int64_t by = absent(step) ? 1 : need_int(step, "slice");
  if (by == 0) fail("a slice's step cannot be 0");
  const auto bound = [&](const Value& value, int64_t fallback) {
    if (absent(value)) return fallback;
    int64_t index = need_int(value, "slice");
    if (index < 0) index = index < -size ? -1 : index + size;
    return by > 0 ? std::clamp<int64_t>(index, 0, size) : std::clamp<int64_t>(index, -1, size - 1);
  };
  const int64_t first = bound(start, by > 0 ? 0 : size - 1);
  const int64_t last = bound(stop, by > 0 ? size : -1);
  List out;
  for (int64_t i = first; by > 0 ? i < last : i > last;) {
    out.push_back(entries[static_cast<size_t>(i)]);
    if (by > size || by < -size) break;
    i += by;
  }
  if (object.is(Kind::kList)) return Value::list(std::move(out));
  std::string text;
  for (const Value& entry : out) text += entry.as_string();
  return Value::string(std::move(text));
}

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, bool& known) {
  known = true;
  if (name == "trim") return Value::string(strip(value.to_text(), arguments.get(0, "chars"), true, true));
  if (name == "upper") return Value::string(to_upper(value.to_text()));
  if (name == "lower") return Value::string(to_lower(value.to_text()));
  if (name == "title") return Value::string(title(value.to_text()));
  if (name == "capitalize") {
    const std::vector<std::string> letters = code_points(value.to_text());
    std::string out;
    for (size_t i = 0; i < letters.size(); ++i) out += i == 0 ? to_upper(letters[i]) : to_lower(letters[i]);
    return Value::string(std::move(out));
  }
  if (name == "string" || name == "safe") return Value::string(value.to_text());
  if (name == "length" || name == "count") {
    if (value.is(Kind::kDict)) return Value::integer(static_cast<int64_t>(value.as_dict().size()));
    return Value::integer(static_cast<int64_t>(to_list(value).size()));
  }
  if (name == "tojson") {
    const Value width = arguments.get(0, "indent");
    const int64_t indent_by = width.is(Kind::kInt) ? width.as_int() : -1;
    if (indent_by > 1000) fail("tojson indents by at most 1000");
    return Value::string(value.to_json(static_cast<int>(indent_by)));
  }
  if (name == "default" || name == "d") {
    const bool use = value.is(Kind::kUndefined) || (arguments.get(1, "boolean").truthy() && !value.truthy());
    if (!use) return value;
    const Value fallback = arguments.get(0, "default_value");
    return fallback.is(Kind::kUndefined) ? Value::string("") : fallback;
  }
  if (name == "join") return join(value, arguments);
  if (name == "replace") {
    const Value count = arguments.get(2, "count");
    return Value::string(replace(value.to_text(), arguments.get(0, "old").to_text(), arguments.get(1, "new").to_text(),
                                 count.is(Kind::kInt) ? count.as_int() : -1));
  }
  if (name == "first") return to_list(value).empty() ? Value() : to_list(value).front();
  if (name == "last") return to_list(value).empty() ? Value() : to_list(value).back();
  if (name == "list") return Value::list(to_list(value));
  if (name == "reverse") {
    List entries = to_list(value);
    std::reverse(entries.begin(), entries.end());
    if (!value.is(Kind::kString)) return Value::list(std::move(entries));
    std::string out;
    for (const Value& entry : entries) out += entry.as_string();
    return Value::string(std::move(out));
  }
  if (name == "items") return value.is(Kind::kUndefined) ? Value::list({}) : items_of(value);
  if (name == "dictsort") {
    Dict entries = need_dict(value, "dictsort");
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) { return to_lower(a.first) < to_lower(b.first); });
    return items_of(Value::dict(std::move(entries)));
  }
  if (name == "unique") return unique(value);
  if (name == "sort") return sorted(value, arguments);
  if (name == "map") return map(value, arguments, known);
  if (name == "select") return select(value, arguments, false, true, known);
  if (name == "reject") return select(value, arguments, false, false, known);
  if (name == "selectattr") return select(value, arguments, true, true, known);
  if (name == "rejectattr") return select(value, arguments, true, false, known);
  if (name == "int") return to_int(value, arguments.get(0, "default"));
  if (name == "float") {
    if (value.is_number()) return Value::number(value.as_double());
    return Value::number(std::strtod(value.to_text().c_str(), nullptr));
  }
  if (name == "abs") {
    if (value.is(Kind::kFloat)) return Value::number(std::fabs(value.as_double()));
    const int64_t number = need_int(value, "abs");
    return Value::integer(number < 0 ? static_cast<int64_t>(0 - static_cast<uint64_t>(number)) : number);
  }
  if (name == "indent") return indent(value.to_text(), arguments);
  known = false;
  return {};
}

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, bool& known) {
  known = true;
  const auto other = [&] { return arguments.get(0, ""); };
  if (name == "defined") return !value.is(Kind::kUndefined);
  if (name == "undefined") return value.is(Kind::kUndefined);
  if (name == "none") return value.is(Kind::kNone);
  if (name == "string") return value.is(Kind::kString);
  if (name == "number") return value.is_number();
  if (name == "integer") return value.is(Kind::kInt);
  if (name == "float") return value.is(Kind::kFloat);
  if (name == "boolean") return value.is(Kind::kBool);
  if (name == "mapping") return value.is(Kind::kDict);
  if (name == "sequence" || name == "iterable") {
    return value.is(Kind::kList) || value.is(Kind::kDict) || value.is(Kind::kString) || value.is(Kind::kUndefined);
  }
  if (name == "callable") return value.is(Kind::kMacro);
  if (name == "true") return value.is(Kind::kBool) && value.as_int() != 0;
  if (name == "false") return value.is(Kind::kBool) && value.as_int() == 0;
  if (name == "odd") return need_int(value, "odd") % 2 != 0;
  if (name == "even") return need_int(value, "even") % 2 == 0;
  if (name == "divisibleby") {
    const int64_t by = need_int(other(), "divisibleby");
    if (by == 0) fail("divisibleby 0");
    return by == -1 || need_int(value, "divisibleby") % by == 0;
  }
  if (name == "eq" || name == "equalto") return value == other();
  if (name == "ne") return !(value == other());
  if (name == "lt" || name == "lessthan") return Value::less(value, other());
  if (name == "gt" || name == "greaterthan") return Value::less(other(), value);
  if (name == "le") return !Value::less(other(), value);
  if (name == "ge") return !Value::less(value, other());
  if (name == "in") return contains(other(), value);
  if (name == "upper")
    return value.to_text() == to_upper(value.to_text()) && value.to_text() != to_lower(value.to_text());
  if (name == "lower")
    return value.to_text() == to_lower(value.to_text()) && value.to_text() != to_upper(value.to_text());
  known = false;
  return false;
}

Value call_method(const Value& object, std::string_view name, const Arguments& arguments, bool& known) {
  known = true;
  const auto argument = [&](size_t index, std::string_view key = "") { return arguments.get(index, key); };
  if (object.is(Kind::kDict)) {
    if (name == "items") return items_of(object);
    if (name == "keys") return Value::list(to_list(object));
    if (name == "values") {
      List values;
      for (const auto& [key, entry] : object.as_dict()) values.push_back(entry);
      return Value::list(std::move(values));
    }
    if (name == "get") {
      Value found = member(object, argument(0));
      if (!found.is(Kind::kUndefined)) return found;
      return arguments.positional.size() > 1 ? argument(1) : Value::none();
    }
  }
  if (object.is(Kind::kString)) {
    const std::string& text = object.as_string();
    if (name == "strip" || name == "lstrip" || name == "rstrip") {
      return Value::string(strip(text, argument(0), name != "rstrip", name != "lstrip"));
    }
    if (name == "upper") return Value::string(to_upper(text));
    if (name == "lower") return Value::string(to_lower(text));
    if (name == "title") return Value::string(title(text));
    if (name == "capitalize") return apply_filter("capitalize", object, {}, known);
    if (name == "startswith" || name == "endswith") {
      const Value prefixes = argument(0);
      for (const Value& prefix : prefixes.is(Kind::kList) ? prefixes.as_list() : List{prefixes}) {
        const std::string& part = need_string(prefix, name);
        const size_t at = name == "startswith" ? 0 : text.size() - std::min(text.size(), part.size());
        if (text.size() >= part.size() && text.compare(at, part.size(), part) == 0) return Value::boolean(true);
      }
      return Value::boolean(false);
    }
    if (name == "split" || name == "rsplit") {
      const Value limit = argument(1, "maxsplit");
      return split(text, argument(0, "sep"), limit.is(Kind::kInt) ? limit.as_int() : -1, name == "rsplit");
    }
    if (name == "splitlines") {
      List lines;
      size_t at = 0;
      while (at < text.size()) {
        const size_t newline = std::min(text.find('\n', at), text.size());
        lines.push_back(Value::string(text.substr(at, newline - at)));
        at = newline + 1;
      }
      return Value::list(std::move(lines));
    }
    if (name == "replace") {
      const Value count = argument(2, "count");
      return Value::string(replace(text, need_string(argument(0), "replace"), need_string(argument(1), "replace"),
                                   count.is(Kind::kInt) ? count.as_int() : -1));
    }
    if (name == "join") {
      Arguments separator;
      separator.positional = {object};
      return join(argument(0), separator);
    }
    if (name == "find" || name == "count") {
      const std::string& part = need_string(argument(0), name);
      if (name == "find") {
        const size_t at = text.find(part);
        return Value::integer(at == std::string::npos ? -1
                                                      : static_cast<int64_t>(code_points(text.substr(0, at)).size()));
      }
      if (part.empty()) return Value::integer(static_cast<int64_t>(code_points(text).size()) + 1);
      int64_t count = 0;
      for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
      return Value::integer(count);
    }
    if (name == "isdigit" || name == "isspace") {
      bool all = !text.empty();
      for (const std::string& c : code_points(text)) {
        const char32_t value = utf8_decode(c, 0).value;
        all = all && (name == "isspace" ? is_space(value) : value >= '0' && value <= '9');
      }
      return Value::boolean(all);
    }
  }
  known = false;
  return {};
}

}  // namespace aqlm_exp::text::jinja
