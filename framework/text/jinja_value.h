// Values of chat templates: what Jinja2 sees of Python's, immutable but for namespaces.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace aqlm_exp::text::jinja {

struct Node;
class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  ///< in insertion order, as Python's

class Value {
 public:
  enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kNamespace, kMacro };

  Value() = default;  // undefined
  static Value none();
  static Value boolean(bool value);
  static Value integer(int64_t value);
  static Value number(double value);
  static Value string(std::string value);
  static Value list(List value);
  static Value tuple(List value);  ///< a list that prints with round brackets
  static Value dict(Dict value);
  static Value name_space(Dict value);
  static Value macro(const Node* definition);  ///< nullptr: a function of the language
  static Value from_json(const nlohmann::ordered_json& json);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return kind_ == Kind::kInt || kind_ == Kind::kFloat || kind_ == Kind::kBool; }
  bool truthy() const;
  int64_t as_int() const { return int_; }  ///< kInt, kBool
  double as_double() const { return kind_ == Kind::kFloat ? float_ : static_cast<double>(int_); }
  const std::string& as_string() const { return *string_; }
  const List& as_list() const { return *list_; }
  const Dict& as_dict() const { return *dict_; }
  Dict& mutable_dict() { return *dict_; }  ///< kNamespace
  const Node* as_macro() const { return macro_; }
  const Value* find(std::string_view key) const;  ///< of a kDict or kNamespace; nullptr if absent

  /// Python's str(): what `{{ value }}` prints; undefined prints nothing.
  std::string to_text() const;
  /// Python's repr().
  std::string to_repr() const;
  /// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: one line.
  std::string to_json(int indent) const;
  /// Python's type name, for messages.
  std::string_view type_name() const;

  /// Python's ==. Numbers of different types compare by value.
  friend bool operator==(const Value& a, const Value& b);
  /// Python's <. @throws std::invalid_argument if the types have no order
  static bool less(const Value& a, const Value& b);

 private:
  Kind kind_ = Kind::kUndefined;
  int64_t int_ = 0;
  double float_ = 0.0;
  std::shared_ptr<const std::string> string_;
  std::shared_ptr<const List> list_;
  std::shared_ptr<Dict> dict_;
  const Node* macro_ = nullptr;
  bool is_tuple_ = false;
};

/// Python's repr of a float.
std::string float_text(double value);

}  // namespace aqlm_exp::text::jinja
