#include "framework/text/jinja_renderer.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <ctime>
#include <stdexcept>
#include <utility>
#include <vector>

#include "framework/base/error.h"
#include "framework/text/jinja_builtins.h"

namespace aqlm_exp::text::jinja {
namespace {

using Kind = Value::Kind;
constexpr int64_t kMaxSteps = 5'000'000;
constexpr int64_t kStepsPerIteration = 20;  // a loop's own variables cost about as much
constexpr int kMaxEvaluationDepth = 2000;   // of tree levels and macro calls together: about 1 MiB of stack
constexpr int64_t kMaxRange = 100'000;      // Jinja2's sandbox has the same limit

enum class Flow { kGoOn, kBreak, kContinue };

class Renderer {
 public:
  Renderer(std::string_view where, Dict variables, int64_t now) : where_(where), now_(now) {
    scopes_.push_back(std::move(variables));
    scopes_.emplace_back();
  }

  std::string run(const Node& root) {
    execute(root);
    return std::move(out_);
  }

 private:
  class Level {
   public:
    Level(Renderer& renderer, const Node& node) : renderer_(renderer) {
      if (--renderer_.steps_left_ < 0)
        renderer_.fail(node, "K-CHAT-LIMIT", fmt::format("more than {} steps", kMaxSteps));
      if (++renderer_.depth_ > kMaxEvaluationDepth)
        renderer_.fail(node, "K-CHAT-LIMIT", "macros call each other too deeply");
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --renderer_.depth_; }

   private:
    Renderer& renderer_;
  };

  /// Operations on long values count for as many steps as their size is worth.
  void charge(const Node& node, const Value& value) {
    const size_t size = value.is(Kind::kString)                               ? value.as_string().size()
                        : value.is(Kind::kList)                               ? 8 * value.as_list().size()
                        : value.is(Kind::kDict) || value.is(Kind::kNamespace) ? 8 * value.as_dict().size()
                                                                              : 0;
    steps_left_ -= static_cast<int64_t>(size / 8);
    if (steps_left_ < 0) fail(node, "K-CHAT-LIMIT", fmt::format("more than {} steps", kMaxSteps));
  }
  [[noreturn]] void fail(const Node& node, const char* code, const std::string& message) const {
    throw DataError(fmt::format("{}:{}: {}", where_, node.line, message), code);
  }
  /// Runs an operation whose own complaint lacks the place.
  template <typename Operation>
  auto at(const Node& node, const Operation& operation) const {
    try {
      return operation();
    } catch (const std::invalid_argument& error) {
      fail(node, "K-CHAT-VALUE", error.what());
    }
  }
  void write(const Node& node, std::string_view text) {
    out_ += text;
    if (out_.size() > kMaxValueBytes) fail(node, "K-CHAT-LIMIT", "output grows beyond 64 MiB");
  }

  const Value* find(std::string_view name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      for (auto entry = scope->rbegin(); entry != scope->rend(); ++entry) {
        if (entry->first == name) return &entry->second;
      }
    }
    return nullptr;
  }
  void assign(const std::string& name, Value value) {
    for (auto& [key, old] : scopes_.back()) {
      if (key == name) {
        old = std::move(value);
        return;
      }
    }
    scopes_.back().emplace_back(name, std::move(value));
  }
  void assign_all(const Node& node, const Value& value) {
    if (node.names.size() == 1) {
      assign(node.names[0], value);
      return;
    }
    const List parts = at(node, [&] { return to_list(value); });
    if (parts.size() != node.names.size()) {
      fail(node, "K-CHAT-VALUE", fmt::format("got {} values for {} names", parts.size(), node.names.size()));
    }
    for (size_t i = 0; i < parts.size(); ++i) assign(node.names[i], parts[i]);
  }

  Flow execute(const Node& node) {
    const Level level(*this, node);
    switch (node.kind) {
      case NodeKind::kBlock:
        for (const auto& child : node.children) {
          if (const Flow flow = execute(*child); flow != Flow::kGoOn) return flow;
        }
        return Flow::kGoOn;
      case NodeKind::kText:
        write(node, node.text);
        return Flow::kGoOn;
      case NodeKind::kPrint: {
        const Value value = evaluate(*node.children[0]);
        write(node, at(node, [&] { return value.to_text(); }));
        return Flow::kGoOn;
      }
      case NodeKind::kIf:
        if (evaluate(*node.children[0]).truthy()) return execute(*node.children[1]);
        return node.children[2] != nullptr ? execute(*node.children[2]) : Flow::kGoOn;
      case NodeKind::kFor:
        return execute_for(node);
      case NodeKind::kSet:
        assign_all(node, evaluate(*node.children[0]));
        return Flow::kGoOn;
      case NodeKind::kSetMember: {
        const Value* found = find(node.names[0]);
        if (found == nullptr || !found->is(Kind::kNamespace)) {
          fail(node, "K-CHAT-VALUE",
               fmt::format("\"{}\" is no namespace(), so \"{}\" cannot be set on it", node.names[0], node.names[1]));
        }
        Value space = *found;
        Value value = evaluate(*node.children[0]);
        for (auto& [key, old] : space.mutable_dict()) {
          if (key == node.names[1]) {
            old = std::move(value);
            return Flow::kGoOn;
          }
        }
        space.mutable_dict().emplace_back(node.names[1], std::move(value));
        return Flow::kGoOn;
      }
      case NodeKind::kSetBlock:
        assign(node.names[0], Value::string(captured(*node.children[0])));
        return Flow::kGoOn;
      case NodeKind::kMacro:
        assign(node.text, Value::macro(&node));
        return Flow::kGoOn;
      case NodeKind::kBreak:
        return Flow::kBreak;
      case NodeKind::kContinue:
        return Flow::kContinue;
      default:
        throw InternalError(fmt::format("{}:{}: an expression where a statement belongs", where_, node.line));
    }
  }

  std::string captured(const Node& body) {
    std::string outer = std::exchange(out_, {});
    execute(body);
    return std::exchange(out_, std::move(outer));
  }

  Flow execute_for(const Node& node) {
    const Value iterable = evaluate(*node.children[0]);
    List entries = at(node, [&] { return to_list(iterable); });
    scopes_.emplace_back();
    if (node.children[1] != nullptr) {
      List kept;
      for (const Value& entry : entries) {
        assign_all(node, entry);
        if (evaluate(*node.children[1]).truthy()) kept.push_back(entry);
      }
      entries = std::move(kept);
    }
    const auto size = static_cast<int64_t>(entries.size());
    for (int64_t i = 0; i < size; ++i) {
      const auto index = static_cast<size_t>(i);
      if ((steps_left_ -= kStepsPerIteration) < 0)
        fail(node, "K-CHAT-LIMIT", fmt::format("more than {} steps", kMaxSteps));
      scopes_.back().clear();
      assign("loop", Value::dict({{"index", Value::integer(i + 1)},
                                  {"index0", Value::integer(i)},
                                  {"revindex", Value::integer(size - i)},
                                  {"revindex0", Value::integer(size - i - 1)},
                                  {"first", Value::boolean(i == 0)},
                                  {"last", Value::boolean(i + 1 == size)},
                                  {"length", Value::integer(size)},
                                  {"depth", Value::integer(1)},
                                  {"depth0", Value::integer(0)},
                                  {"previtem", i > 0 ? entries[index - 1] : Value()},
                                  {"nextitem", i + 1 < size ? entries[index + 1] : Value()}}));
      assign_all(node, entries[index]);
      if (execute(*node.children[2]) == Flow::kBreak) break;
    }
    scopes_.pop_back();
    return entries.empty() && node.children[3] != nullptr ? execute(*node.children[3]) : Flow::kGoOn;
  }

  Arguments arguments_of(const Node& node) {
    Arguments arguments;
    for (size_t i = 1; i < node.children.size(); ++i) arguments.positional.push_back(evaluate(*node.children[i]));
    for (const auto& [name, child] : node.named) arguments.named.emplace_back(name, evaluate(*child));
    return arguments;
  }

  Value evaluate(const Node& node) {
    const Level level(*this, node);
    switch (node.kind) {
      case NodeKind::kLiteral:
        return node.value;
      case NodeKind::kName: {
        const Value* found = find(node.text);
        if (found != nullptr) return *found;
        return is_function(node.text) ? Value::macro(nullptr) : Value();
      }
      case NodeKind::kList: {
        List entries;
        for (const auto& child : node.children) entries.push_back(evaluate(*child));
        return node.text == "tuple" ? Value::tuple(std::move(entries)) : Value::list(std::move(entries));
      }
      case NodeKind::kDict:
        return evaluate_dict(node);
      case NodeKind::kAttribute:
        return member_of(node, evaluate(*node.children[0]), Value::string(node.text));
      case NodeKind::kItem: {
        const Value object = evaluate(*node.children[0]);
        charge(node, object);
        return member_of(node, object, evaluate(*node.children[1]));
      }
      case NodeKind::kSlice: {
        const Value object = evaluate(*node.children[0]);
        charge(node, object);
        Value parts[3];
        for (size_t i = 0; i < 3; ++i) {
          if (node.children[i + 1] != nullptr) parts[i] = evaluate(*node.children[i + 1]);
        }
        return at(node, [&] { return slice(object, parts[0], parts[1], parts[2]); });
      }
      case NodeKind::kCall:
        return evaluate_call(node);
      case NodeKind::kFilter: {
        const Value value = evaluate(*node.children[0]);
        charge(node, value);
        const Arguments arguments = arguments_of(node);
        bool known = true;
        Value result = at(node, [&] { return apply_filter(node.text, value, arguments, known); });
        if (!known) fail(node, "K-CHAT-UNKNOWN", fmt::format("filter \"{}\" is not supported", node.text));
        return result;
      }
      case NodeKind::kTest: {
        const Value value = evaluate(*node.children[0]);
        charge(node, value);
        const Arguments arguments = arguments_of(node);
        bool known = true;
        const bool result = at(node, [&] { return apply_test(node.text, value, arguments, known); });
        if (!known) fail(node, "K-CHAT-UNKNOWN", fmt::format("test \"{}\" is not supported", node.text));
        return Value::boolean(result);
      }
      case NodeKind::kUnary:
        return evaluate_unary(node);
      case NodeKind::kBinary:
        return evaluate_binary(node);
      case NodeKind::kCompare:
        return evaluate_compare(node);
      case NodeKind::kCondition:
        if (evaluate(*node.children[1]).truthy()) return evaluate(*node.children[0]);
        return node.children[2] != nullptr ? evaluate(*node.children[2]) : Value();
      default:
        throw InternalError(fmt::format("{}:{}: a statement where an expression belongs", where_, node.line));
    }
  }

  Value member_of(const Node& node, const Value& object, const Value& key) {
    if (object.is(Kind::kUndefined)) {
      fail(node, "K-CHAT-VALUE",
           fmt::format("\"{}\" of {} is undefined: no such variable or key", key.to_text(),
                       describe(*node.children[0])));
    }
    return member(object, key);
  }

  static std::string describe(const Node& node) {
    if (node.kind == NodeKind::kName) return fmt::format("\"{}\"", node.text);
    if (node.kind == NodeKind::kAttribute) return describe(*node.children[0]) + "." + node.text;
    return "an expression";
  }

  Value evaluate_dict(const Node& node) {
    Dict entries;
    for (size_t i = 0; i + 1 < node.children.size(); i += 2) {
      const Value key = evaluate(*node.children[i]);
      if (!key.is(Kind::kString))
        fail(node, "K-CHAT-VALUE", fmt::format("a mapping's key must be a string, got {}", key.type_name()));
      Value value = evaluate(*node.children[i + 1]);
      bool known = false;
      for (auto& [name, old] : entries) {
        if (name != key.as_string()) continue;
        old = value;
        known = true;
      }
      if (!known) entries.emplace_back(key.as_string(), std::move(value));
    }
    return Value::dict(std::move(entries));
  }

  Value evaluate_call(const Node& node) {
    const Node& callee = *node.children[0];
    if (callee.kind == NodeKind::kAttribute) {
      const Value object = evaluate(*callee.children[0]);
      charge(node, object);
      if (object.is(Kind::kUndefined)) member_of(callee, object, Value::string(callee.text));
      const Arguments arguments = arguments_of(node);
      bool known = true;
      Value result = at(node, [&] { return call_method(object, callee.text, arguments, known); });
      if (!known)
        fail(node, "K-CHAT-UNKNOWN", fmt::format("{} has no method \"{}\" here", object.type_name(), callee.text));
      return result;
    }
    const Value* found = callee.kind == NodeKind::kName ? find(callee.text) : nullptr;
    if (found != nullptr && found->is(Kind::kMacro) && found->as_macro() != nullptr)
      return call_macro(node, *found->as_macro());
    if (callee.kind == NodeKind::kName && found == nullptr) return call_function(node, callee.text);
    fail(node, "K-CHAT-VALUE", fmt::format("{} cannot be called", describe(callee)));
  }

  static bool is_function(std::string_view name) {
    return name == "raise_exception" || name == "namespace" || name == "dict" || name == "range" ||
           name == "strftime_now";
  }

  Value call_function(const Node& node, const std::string& name) {
    const Arguments arguments = arguments_of(node);
    const Value first = arguments.get(0, "");
    if (name == "raise_exception")
      fail(node, "K-CHAT-RAISED", "the template refuses: " + at(node, [&] { return first.to_text(); }));
    if (name == "namespace" || name == "dict") {
      Dict entries;
      if (first.is(Kind::kDict)) entries = first.as_dict();
      for (const auto& [key, value] : arguments.named) entries.emplace_back(key, value);
      return name == "dict" ? Value::dict(std::move(entries)) : Value::name_space(std::move(entries));
    }
    if (name == "range") return range(node, arguments);
    if (name == "strftime_now") return strftime_now(node, first);
    fail(node, "K-CHAT-UNKNOWN",
         fmt::format("function \"{}\" is not known; known: raise_exception, namespace, dict, range, strftime_now",
                     name));
  }

  Value range(const Node& node, const Arguments& arguments) {
    std::array<int64_t, 3> parts = {0, 0, 1};
    const size_t count = arguments.positional.size();
    if (count < 1 || count > 3) fail(node, "K-CHAT-VALUE", fmt::format("range() takes 1 to 3 numbers, got {}", count));
    for (size_t i = 0; i < count; ++i) {
      if (!arguments.positional[i].is(Kind::kInt)) fail(node, "K-CHAT-VALUE", "range() takes integers");
      parts[count == 1 ? 1 : i] = arguments.positional[i].as_int();
    }
    if (parts[2] == 0) fail(node, "K-CHAT-VALUE", "range() with step 0");
    List numbers;
    for (int64_t value = parts[0]; parts[2] > 0 ? value < parts[1] : value > parts[1];) {
      if (static_cast<int64_t>(numbers.size()) == kMaxRange) {
        fail(node, "K-CHAT-LIMIT", fmt::format("range() of more than {} numbers", kMaxRange));
      }
      numbers.push_back(Value::integer(value));
      if (__builtin_add_overflow(value, parts[2], &value)) break;
    }
    const Value result = Value::list(std::move(numbers));
    charge(node, result);
    return result;
  }

  Value strftime_now(const Node& node, const Value& format) const {
    if (!format.is(Kind::kString) || format.as_string().size() > 200)
      fail(node, "K-CHAT-VALUE", "strftime_now() takes a short format");
    std::tm broken{};
    const auto seconds = static_cast<std::time_t>(now_);
    ::gmtime_r(&seconds, &broken);
    std::array<char, 4096> buffer{};
    const size_t size = std::strftime(buffer.data(), buffer.size(), format.as_string().c_str(), &broken);
    return Value::string(std::string(buffer.data(), size));
  }

  Value call_macro(const Node& node, const Node& macro) {
    const Arguments arguments = arguments_of(node);
    if (arguments.positional.size() > macro.names.size()) {
      fail(node, "K-CHAT-VALUE",
           fmt::format("macro \"{}\" takes {} arguments, got {}", macro.text, macro.names.size(),
                       arguments.positional.size()));
    }
    Dict scope;
    for (size_t i = 0; i < macro.names.size(); ++i) {
      Value value = arguments.get(i, macro.names[i]);
      if (value.is(Kind::kUndefined) && macro.children[i + 1] != nullptr) value = evaluate(*macro.children[i + 1]);
      scope.emplace_back(macro.names[i], std::move(value));
    }
    // A macro sees the template's own names, not those of the loop it is called from.
    std::vector<Dict> outer(std::make_move_iterator(scopes_.begin() + 2), std::make_move_iterator(scopes_.end()));
    scopes_.resize(2);
    scopes_.push_back(std::move(scope));
    std::string text = captured(*macro.children[0]);
    scopes_.pop_back();
    for (Dict& entry : outer) scopes_.push_back(std::move(entry));
    return Value::string(std::move(text));
  }

  Value evaluate_unary(const Node& node) {
    const Value value = evaluate(*node.children[0]);
    if (node.text == "not") return Value::boolean(!value.truthy());
    if (!value.is_number())
      fail(node, "K-CHAT-VALUE", fmt::format("\"{}\" needs a number, got {}", node.text, value.type_name()));
    if (node.text == "+") return value;
    if (value.is(Kind::kFloat)) return Value::number(-value.as_double());
    int64_t negated = 0;
    if (__builtin_sub_overflow(int64_t{0}, value.as_int(), &negated)) fail(node, "K-CHAT-VALUE", "integer overflow");
    return Value::integer(negated);
  }

  Value evaluate_binary(const Node& node) {
    const Value left = evaluate(*node.children[0]);
    if (node.text == "and") return left.truthy() ? evaluate(*node.children[1]) : left;
    if (node.text == "or") return left.truthy() ? left : evaluate(*node.children[1]);
    const Value right = evaluate(*node.children[1]);
    charge(node, left);
    charge(node, right);
    if (node.text == "~")
      return concatenated(node, at(node, [&] { return left.to_text(); }), at(node, [&] { return right.to_text(); }));
    if (node.text == "+" && left.is(Kind::kString) && right.is(Kind::kString))
      return concatenated(node, left.as_string(), right.as_string());
    if (node.text == "+" && left.is(Kind::kList) && right.is(Kind::kList)) {
      List entries = left.as_list();
      entries.insert(entries.end(), right.as_list().begin(), right.as_list().end());
      if (entries.size() > 1'000'000) fail(node, "K-CHAT-LIMIT", "a list of more than a million entries");
      return Value::list(std::move(entries));
    }
    if (node.text == "*" && left.is(Kind::kString) && right.is(Kind::kInt)) {
      const int64_t count = std::max<int64_t>(0, right.as_int());
      if (!left.as_string().empty() && count > static_cast<int64_t>(kMaxValueBytes / left.as_string().size())) {
        fail(node, "K-CHAT-LIMIT", "a string grows beyond 64 MiB");
      }
      std::string text;
      for (int64_t i = 0; i < count && !left.as_string().empty(); ++i) text += left.as_string();
      return Value::string(std::move(text));
    }
    if (!left.is_number() || !right.is_number()) {
      fail(node, "K-CHAT-VALUE",
           fmt::format("\"{}\" between {} and {}", node.text, left.type_name(), right.type_name()));
    }
    return arithmetic(node, left, right);
  }

  Value concatenated(const Node& node, const std::string& left, const std::string& right) const {
    if (left.size() + right.size() > kMaxValueBytes) fail(node, "K-CHAT-LIMIT", "a string grows beyond 64 MiB");
    return Value::string(left + right);
  }

  Value arithmetic(const Node& node, const Value& left, const Value& right) const {
    const std::string& name = node.text;
    const bool divides = name == "/" || name == "//" || name == "%";
    if (divides && right.as_double() == 0.0) fail(node, "K-CHAT-VALUE", "division by zero");
    if (left.is(Kind::kFloat) || right.is(Kind::kFloat) || name == "/" || (name == "**" && right.as_int() < 0)) {
      const double a = left.as_double();
      const double b = right.as_double();
      if (name == "+") return Value::number(a + b);
      if (name == "-") return Value::number(a - b);
      if (name == "*") return Value::number(a * b);
      if (name == "/") return Value::number(a / b);
      if (name == "//") return Value::number(std::floor(a / b));
      if (name == "%") return Value::number(a - b * std::floor(a / b));
      return Value::number(std::pow(a, b));
    }
    const int64_t a = left.as_int();
    const int64_t b = right.as_int();
    int64_t result = 0;
    bool overflow = false;
    if (name == "+") {
      overflow = __builtin_add_overflow(a, b, &result);
    } else if (name == "-") {
      overflow = __builtin_sub_overflow(a, b, &result);
    } else if (name == "*") {
      overflow = __builtin_mul_overflow(a, b, &result);
    } else if (name == "**") {
      result = 1;
      if (b > 64 && a != 0 && a != 1 && a != -1) overflow = true;
      for (int64_t i = 0; i < std::min<int64_t>(b, 64 + b % 2) && !overflow; ++i)
        overflow = __builtin_mul_overflow(result, a, &result);
    } else if (b == -1) {
      if (name == "//") overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
    } else {  // rounded towards minus infinity
      const int64_t remainder = a % b;
      const bool adjust = remainder != 0 && (remainder < 0) != (b < 0);
      result = name == "%" ? remainder + (adjust ? b : 0) : a / b - (adjust ? 1 : 0);
    }
    if (overflow) fail(node, "K-CHAT-VALUE", "integer overflow");
    return Value::integer(result);
  }

  Value evaluate_compare(const Node& node) {
    Value left = evaluate(*node.children[0]);
    for (size_t i = 0; i < node.names.size(); ++i) {
      Value right = evaluate(*node.children[i + 1]);
      charge(node, left);
      charge(node, right);
      const std::string& name = node.names[i];
      const bool holds = at(node, [&] {
        if (name == "==") return left == right;
        if (name == "!=") return !(left == right);
        if (name == "<") return Value::less(left, right);
        if (name == ">") return Value::less(right, left);
        if (name == "<=") return !Value::less(right, left);
        if (name == ">=") return !Value::less(left, right);
        return contains(right, left) == (name == "in");
      });
      if (!holds) return Value::boolean(false);
      left = std::move(right);
    }
    return Value::boolean(true);
  }

  std::string_view where_;
  int64_t now_;
  std::string out_;
  std::vector<Dict> scopes_;  // the variables, the template's own names, then one for each loop or macro
  int64_t steps_left_ = kMaxSteps;
  int depth_ = 0;
};

}  // namespace

std::string render(const Node& root, std::string_view where, Dict variables, int64_t now) {
  return Renderer(where, std::move(variables), now).run(root);
}

}  // namespace aqlm_exp::text::jinja
