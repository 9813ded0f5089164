#include "framework/config/sweep_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>

#include "framework/base/rng.h"
#include "framework/config/decimal.h"
#include "framework/config/scalar.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

// Five times the trials that a sweep may have by default. A value costs 900 bytes while it is composed (libFuzzer's
// heap count of range(0,74760): over 64 MiB), and a few letters must not take more than 64 MiB.
constexpr size_t kMaxValues = 50000;
const std::vector<std::string> kFunctions = {"choice", "range", "glob", "sort", "shuffle",
                                             "int",    "float", "bool", "str"};

struct Failed {};

bool is_number(const Element& element) {
  return element.kind == Element::Kind::kBare && (element.value.is_int() || element.value.is_float());
}
bool is_scalar(const Element& element) {
  return element.kind == Element::Kind::kBare || element.kind == Element::Kind::kQuoted;
}
/// "-007" → "-7": a cast was asked for, so that the zeros cannot mean anything else.
std::string without_leading_zeros(const std::string& text) {
  const size_t sign = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  size_t first = sign;
  while (first + 1 < text.size() && text[first] == '0' && text[first + 1] >= '0' && text[first + 1] <= '9') ++first;
  return text.substr(0, sign) + text.substr(first);
}
bool is_text(const Element& element) { return is_scalar(element) && element.value.is_string(); }

class Evaluator {
 public:
  Evaluator(const ValueContext& context, std::vector<Problem>& problems) : context_(context), problems_(problems) {}

  ValueList all(const std::vector<Element>& elements) {
    if (elements.size() == 1) return one(elements.front());
    ValueList out;
    out.is_sweep = true;
    for (const Element& element : elements) out.values.push_back(plain(element, "a list of choices"));
    return out;
  }

 private:
  [[noreturn]] void fail(const char* code, const Element& at, std::string message, std::string help = {},
                         std::string hint = {}) {
    Problem problem{code, at.mark, {}, std::move(message), std::move(help)};
    problem.hint = std::move(hint);
    problem.length = at.kind == Element::Kind::kCall ? static_cast<int>(at.name.size()) : 1;
    problems_.push_back(std::move(problem));
    throw Failed();
  }

  ValueList one(const Element& element) {
    if (element.kind == Element::Kind::kCall) return call(element);
    return {false, {plain(element, "a value")}};
  }

  /// The element with calls inside it computed; sweeps are refused.
  Element plain(const Element& element, const char* where) {
    if (element.kind == Element::Kind::kCall) {
      ValueList value = call(element);
      if (value.is_sweep) {
        fail("O103", element, fmt::format("{}() makes a sweep, which cannot stand inside {}", element.name, where),
             "sweep over whole values: key=[1,2],[3,4]");
      }
      return value.values.front();
    }
    Element out = element;
    for (Element& item : out.items) item = plain(item, element.kind == Element::Kind::kList ? "a list" : "a map");
    return out;
  }

  /// Arguments of functions are printed without quotes where they need none, as Hydra prints them.
  static Element unquoted(Element element) {
    if (element.kind == Element::Kind::kQuoted) element.kind = Element::Kind::kBare;
    return element;
  }

  /// Named and positional arguments matched to parameter names; unknown and double ones are faults.
  std::map<std::string, const Element*> bind(const Element& element, const std::vector<std::string>& names) {
    std::map<std::string, const Element*> out;
    size_t position = 0;
    for (size_t i = 0; i < element.items.size(); ++i) {
      std::string name = element.names[i];
      if (name.empty()) {
        if (position >= names.size()) {
          fail("O103", element.items[i], fmt::format("{}() takes at most {} arguments", element.name, names.size()));
        }
        name = names[position++];
      } else if (std::find(names.begin(), names.end(), name) == names.end()) {
        fail("O103", element.items[i], fmt::format("{}() has no argument '{}'", element.name, name),
             "arguments are: " + join_names(names), did_you_mean(nearest_names(name, names)));
      }
      if (!out.emplace(name, &element.items[i]).second) {
        fail("O103", element.items[i], fmt::format("{}() gets '{}' twice", element.name, name));
      }
    }
    return out;
  }

  ValueList call(const Element& element) {
    const std::string& name = element.name;
    if (name == "choice") return choice(element);
    if (name == "range") return range(element);
    if (name == "glob") return glob(element);
    if (name == "sort") return sort(element);
    if (name == "shuffle") return shuffle(element);
    if (name == "int" || name == "float" || name == "bool" || name == "str") return cast(element);
    if (name == "interval" || name == "tag") {
      fail("W108", element, fmt::format("{}() needs an optimising sweeper, which does not exist here", name),
           name == "interval" ? "list values: range(start,stop,step) or a,b,c" : "drop tag()");
    }
    fail("O102", element, fmt::format("unknown function '{}'", name),
         fmt::format("functions are: {}; to write a parenthesis in text use \\( or quotes", join_names(kFunctions)),
         did_you_mean(nearest_names(name, kFunctions)));
  }

  ValueList choice(const Element& element) {
    if (element.items.empty()) fail("O103", element, "choice() is empty", "write choice(a,b)");
    for (const std::string& name : element.names) {
      if (!name.empty()) fail("O103", element, fmt::format("choice() has no argument '{}'", name), "write choice(a,b)");
    }
    ValueList out;
    out.is_sweep = true;
    for (const Element& item : element.items) out.values.push_back(unquoted(plain(item, "choice()")));
    return out;
  }

  ValueList range(const Element& element) {
    auto arguments = bind(element, {"start", "stop", "step"});
    if (arguments.empty() || (arguments.count("start") == 0 && arguments.count("stop") == 0)) {
      fail("O103", element, "range() needs a stop", "write range(stop) or range(start,stop,step)");
    }
    std::map<std::string, Node> numbers;
    for (const auto& [name, argument] : arguments) {
      const Element value = plain(*argument, "range()");
      if (!is_number(value))
        fail("O103", *argument, fmt::format("range() got {} for {}, need a number", print_element(value), name));
      numbers[name] = value.value;
    }
    if (numbers.count("stop") == 0) {
      numbers["stop"] = numbers["start"];
      numbers.erase("start");
    }
    const Node zero = Node::integer(0, element.mark), unit = Node::integer(1, element.mark);
    const Node& start = numbers.count("start") != 0 ? numbers["start"] : zero;
    const Node& step = numbers.count("step") != 0 ? numbers["step"] : unit;
    std::string fault;
    const auto values = decimal_range(start, numbers["stop"], step, kMaxValues, fault);
    if (!values) fail("O103", element, "range(): " + fault, "write range(start,stop,step) with step > 0 to count up");
    if (values->empty()) {
      fail("O103", element,
           fmt::format("range() from {} to {} by {} has no values", to_json(start), to_json(numbers["stop"]),
                       to_json(step)),
           "stop itself is never reached; use a negative step to count down");
    }
    ValueList out;
    out.is_sweep = true;
    for (const Node& value : *values) {
      out.values.push_back(element_of(value));
      out.values.back().mark = element.mark;
    }
    return out;
  }

  std::vector<std::string> patterns(const Element& call, const Element* argument) {
    std::vector<std::string> out;
    if (argument == nullptr) return out;
    const Element value = plain(*argument, "glob()");
    const std::vector<Element> items = value.kind == Element::Kind::kList ? value.items : std::vector<Element>{value};
    for (const Element& item : items) {
      if (!is_scalar(item) || item.value.is_null()) fail("O103", call, "glob() needs a pattern or a list of patterns");
      out.push_back(scalar_text(item.value));
    }
    return out;
  }

  ValueList glob(const Element& element) {
    auto arguments = bind(element, {"include", "exclude"});
    if (arguments.count("include") == 0)
      fail("O103", element, "glob() needs a pattern", "write glob(*) or glob([a*,b*],exclude=*_old)");
    const std::vector<std::string> include = patterns(element, arguments["include"]);
    const std::vector<std::string> exclude =
        patterns(element, arguments.count("exclude") != 0 ? arguments["exclude"] : nullptr);
    ValueList out;
    out.is_sweep = true;
    if (context_.syntax_only) {
      for (const std::string& pattern : include) out.values.push_back(element_of(Node::string(pattern, element.mark)));
      return out;
    }
    if (!context_.group_options) {
      fail("W106", element, "glob() stands for a key that is no group",
           "glob() lists the options of a group: group=glob(*)");
    }
    const std::vector<std::string> options = context_.group_options();
    const auto matches_any = [](const std::string& name, const std::vector<std::string>& list) {
      return std::any_of(list.begin(), list.end(),
                         [&](const std::string& pattern) { return matches_glob(name, pattern); });
    };
    for (const std::string& option : options) {
      if (matches_any(option, include) && !matches_any(option, exclude)) {
        out.values.push_back(element_of(Node::string(option, element.mark)));
      }
    }
    if (out.values.empty()) {
      fail("W106", element, fmt::format("glob() matches none of the options {}", join_names(options)),
           "check the pattern");
    }
    return out;
  }

  /// The argument of sort() and shuffle(): one list, one sweep, or several values.
  ValueList sequence(const Element& element, const std::string& option, const Element** option_value, bool& is_list) {
    std::vector<Element> plain_arguments;
    const Element* whole = nullptr;
    for (size_t i = 0; i < element.items.size(); ++i) {
      const std::string& name = element.names[i];
      if (name == option) {
        *option_value = &element.items[i];
      } else if (name == "list" || name == "sweep") {
        whole = &element.items[i];
      } else if (!name.empty()) {
        fail("O103", element.items[i], fmt::format("{}() has no argument '{}'", element.name, name),
             fmt::format("arguments are: values, {}=", option));
      } else {
        plain_arguments.push_back(element.items[i]);
      }
    }
    if (whole != nullptr && plain_arguments.empty()) plain_arguments.push_back(*whole);
    if (plain_arguments.empty())
      fail("O103", element, fmt::format("{}() is empty", element.name), "give it values, a list or a sweep");
    is_list = false;
    if (plain_arguments.size() > 1) {
      ValueList out;
      out.is_sweep = true;
      for (const Element& item : plain_arguments) out.values.push_back(unquoted(plain(item, "several values")));
      return out;
    }
    ValueList value = one(plain_arguments.front());
    if (!value.is_sweep && value.values.front().kind == Element::Kind::kList) {
      is_list = true;
      value.values = std::vector<Element>(value.values.front().items);
    }
    return value;
  }

  ValueList packed(ValueList value, bool is_list, const Element& element) {
    if (!is_list) return value;
    Element list;
    list.kind = Element::Kind::kList;
    list.mark = element.mark;
    list.items = std::move(value.values);
    return {false, {std::move(list)}};
  }

  ValueList sort(const Element& element) {
    const Element* reverse_argument = nullptr;
    bool is_list = false;
    ValueList value = sequence(element, "reverse", &reverse_argument, is_list);
    bool reverse = false;
    if (reverse_argument != nullptr) {
      const Element flag = plain(*reverse_argument, "sort()");
      if (!is_scalar(flag) || !flag.value.is_bool())
        fail("O103", *reverse_argument, "sort(): reverse needs true or false");
      reverse = flag.value.as_bool();
    }
    const auto rank = [](const Element& item) {
      return is_text(item) ? 1 : is_scalar(item) && !item.value.is_null() ? 0 : 2;
    };
    for (const Element& item : value.values) {
      if (value.values.size() > 1 && (rank(item) == 2 || rank(item) != rank(value.values.front()))) {
        fail("O103", element, "sort() can compare numbers with numbers and text with text only",
             "sort numbers and text apart");
      }
    }
    const auto number = [](const Element& item) {
      return item.value.is_bool() ? static_cast<double>(item.value.as_bool()) : item.value.as_number();
    };
    const auto less = [&](const Element& a, const Element& b) {
      if (is_text(a)) return a.value.as_string() < b.value.as_string();
      if (a.value.is_int() && b.value.is_int()) return a.value.as_int() < b.value.as_int();
      return number(a) < number(b);
    };
    for (const Element& item : value.values) {
      if (value.values.size() > 1 && item.value.is_float() && std::isnan(item.value.as_number()))
        fail("O103", element, "sort() cannot order nan");
    }
    if (value.values.size() > 1) {
      std::stable_sort(value.values.begin(), value.values.end(),
                       [&](const Element& a, const Element& b) { return reverse ? less(b, a) : less(a, b); });
    }
    return packed(std::move(value), is_list, element);
  }

  ValueList shuffle(const Element& element) {
    const Element* seed_argument = nullptr;
    bool is_list = false;
    ValueList value = sequence(element, "seed", &seed_argument, is_list);
    std::optional<int64_t> seed = context_.seed;
    if (seed_argument != nullptr) {
      const Element number = plain(*seed_argument, "shuffle()");
      if (!is_scalar(number) || !number.value.is_int())
        fail("O103", *seed_argument, "shuffle(): seed needs an integer");
      seed = number.value.as_int();
    }
    if (!seed && context_.syntax_only) return packed(std::move(value), is_list, element);
    if (!seed) {
      fail("W105", element, "shuffle() has no seed, so that a resumed sweep would have another order",
           "write shuffle(...,seed=1) or set exp.sweep.seed");
    }
    Rng rng(static_cast<uint64_t>(*seed));
    std::vector<Element> shuffled;
    for (const int64_t i : rng.permutation(static_cast<int64_t>(value.values.size()))) {
      shuffled.push_back(value.values[static_cast<size_t>(i)]);
    }
    value.values = std::move(shuffled);
    return packed(std::move(value), is_list, element);
  }

  ValueList cast(const Element& element) {
    if (element.items.empty())
      fail("O103", element, fmt::format("{}() is empty", element.name), fmt::format("write {}(value)", element.name));
    for (const std::string& name : element.names) {
      if (!name.empty() && name != "value")
        fail("O103", element, fmt::format("{}() has no argument '{}'", element.name, name));
    }
    ValueList value = element.items.size() == 1 ? one(element.items.front()) : all(element.items);
    for (Element& item : value.values) item = cast_one(element, item);
    return value;
  }

  Element cast_one(const Element& call, const Element& element) {
    if (!is_scalar(element)) {
      Element out = element;
      for (Element& item : out.items) item = cast_one(call, item);
      return out;
    }
    Element out;
    out.mark = element.mark;
    const Node& value = element.value;
    const Mark& mark = element.mark;
    const auto cannot = [&] {
      fail("O103", element, fmt::format("cannot cast {} to {}", print_element(element), call.name));
    };
    if (call.name == "str") {
      out.kind = Element::Kind::kQuoted;
      out.value = Node::string(scalar_text(value), mark);
      return out;
    }
    Node number = value;  // text that reads as a number or a switch
    if (value.is_string()) {
      const ScalarReading reading = read_override_scalar(without_leading_zeros(value.as_string()), mark);
      if (!reading.value || reading.value->is_string() || reading.value->is_null()) cannot();
      number = *reading.value;
      if (number.is_bool() != (call.name == "bool") || (call.name == "int" && !number.is_int())) cannot();
    }
    if (number.is_null()) cannot();
    if (call.name == "bool") {
      out.value = Node::boolean(number.is_bool() ? number.as_bool() : number.as_number() != 0.0, mark);
    } else if (call.name == "float") {
      out.value = Node::number(number.is_bool() ? (number.as_bool() ? 1.0 : 0.0) : number.as_number(), mark);
    } else if (number.is_bool()) {
      out.value = Node::integer(number.as_bool() ? 1 : 0, mark);
    } else if (number.is_int()) {
      out.value = number;
    } else {
      const double truncated = std::trunc(number.as_number());
      if (!(truncated >= -9.2e18 && truncated <= 9.2e18)) cannot();
      out.value = Node::integer(static_cast<int64_t>(truncated), mark);
    }
    return out;
  }

  const ValueContext& context_;
  std::vector<Problem>& problems_;
};

/// Length of the pattern's first element ('?', a class, or a character).
size_t element_length(std::string_view pattern) {
  if (pattern[0] != '[') return 1;
  size_t i = pattern.size() > 1 && pattern[1] == '!' ? 2 : 1;
  if (i < pattern.size() && pattern[i] == ']') ++i;  // a ']' in first place is itself
  while (i < pattern.size() && pattern[i] != ']') ++i;
  return i < pattern.size() ? i + 1 : 1;  // without ']' the '[' is itself
}

bool matches_element(char c, std::string_view element) {
  if (element == "?") return true;
  if (element.size() == 1) return element[0] == c;
  std::string_view set = element.substr(1, element.size() - 2);
  const bool negated = set.size() > 1 && set[0] == '!';
  if (negated) set.remove_prefix(1);
  bool found = false;
  for (size_t i = 0; i < set.size(); ++i) {
    if (i + 2 < set.size() && set[i + 1] == '-') {
      found = found || (set[i] <= c && c <= set[i + 2]);
      i += 2;
    } else {
      found = found || set[i] == c;
    }
  }
  return found != negated;
}

}  // namespace

bool matches_glob(const std::string& name, const std::string& pattern) {
  // Only the last '*' ever needs to take more characters, so the work is at most name times pattern.
  size_t n = 0, p = 0, star = std::string::npos, star_name = 0;
  const std::string_view text(pattern);
  while (n < name.size()) {
    if (p < text.size() && text[p] == '*') {
      star = ++p;
      star_name = n;
      continue;
    }
    if (p < text.size()) {
      const size_t length = element_length(text.substr(p));
      if (matches_element(name[n], text.substr(p, length))) {
        p += length;
        ++n;
        continue;
      }
    }
    if (star == std::string::npos) return false;
    p = star;
    n = ++star_name;
  }
  while (p < text.size() && text[p] == '*') ++p;
  return p == text.size();
}

std::optional<ValueList> evaluate_values(const std::vector<Element>& elements, const ValueContext& context,
                                         std::vector<Problem>& problems) {
  try {
    return Evaluator(context, problems).all(elements);
  } catch (const Failed&) {
    return std::nullopt;
  }
}

}  // namespace aqlm_exp::config
