#include "framework/text/jinja_value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <stdexcept>

#include "framework/base/utf8.h"

namespace aqlm_exp::text::jinja {
namespace {

std::string repr_of_string(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (char c : text) {
    switch (c) {
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\\':
        out += "\\\\";
        break;
      default:
        if (c == quote) out += '\\';
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
          out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
        } else {
          out += c;
        }
    }
  }
  return out + quote;
}

std::string json_string(const std::string& text) { return nlohmann::json(text).dump(); }

void append_json(const Value& value, int indent, int depth, std::string& out) {
  const auto line = [&](int levels) {
    if (indent >= 0) out += "\n" + std::string(static_cast<size_t>(levels * indent), ' ');
  };
  const char* comma = indent >= 0 ? "," : ", ";
  switch (value.kind()) {
    case Value::Kind::kNone:
      out += "null";
      return;
    case Value::Kind::kBool:
      out += value.as_int() != 0 ? "true" : "false";
      return;
    case Value::Kind::kInt:
      out += std::to_string(value.as_int());
      return;
    case Value::Kind::kFloat:
      out += std::isnan(value.as_double())   ? "NaN"
             : std::isinf(value.as_double()) ? (value.as_double() > 0 ? "Infinity" : "-Infinity")
                                             : float_text(value.as_double());
      return;
    case Value::Kind::kString:
      out += json_string(value.as_string());
      return;
    case Value::Kind::kList: {
      out += '[';
      bool first = true;
      for (const Value& entry : value.as_list()) {
        if (!first) out += comma;
        first = false;
        line(depth + 1);
        append_json(entry, indent, depth + 1, out);
      }
      if (!first) line(depth);
      out += ']';
      return;
    }
    case Value::Kind::kDict: {
      out += '{';
      bool first = true;
      for (const auto& [key, entry] : value.as_dict()) {
        if (!first) out += comma;
        first = false;
        line(depth + 1);
        out += json_string(key) + ": ";
        append_json(entry, indent, depth + 1, out);
      }
      if (!first) line(depth);
      out += '}';
      return;
    }
    default:
      throw std::invalid_argument(fmt::format("{} cannot be written as JSON", value.type_name()));
  }
}

}  // namespace

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // Python writes the shortest digits that read back, without exponent between 1e-4 and 1e16.
  char buffer[400];
  const double size = std::fabs(value);
  const bool plain = size == 0.0 || (size >= 1e-4 && size < 1e16);
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value,
                                    plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, result.ptr);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

Value Value::none() {
  Value value;
  value.kind_ = Kind::kNone;
  return value;
}
Value Value::boolean(bool from) {
  Value value;
  value.kind_ = Kind::kBool;
  value.int_ = from ? 1 : 0;
  return value;
}
Value Value::integer(int64_t from) {
  Value value;
  value.kind_ = Kind::kInt;
  value.int_ = from;
  return value;
}
Value Value::number(double from) {
  Value value;
  value.kind_ = Kind::kFloat;
  value.float_ = from;
  return value;
}
Value Value::string(std::string from) {
  Value value;
  value.kind_ = Kind::kString;
  value.string_ = std::make_shared<const std::string>(std::move(from));
  return value;
}
Value Value::list(List from) {
  Value value;
  value.kind_ = Kind::kList;
  value.list_ = std::make_shared<const List>(std::move(from));
  return value;
}
Value Value::tuple(List from) {
  Value value = list(std::move(from));
  value.is_tuple_ = true;
  return value;
}
Value Value::dict(Dict from) {
  Value value;
  value.kind_ = Kind::kDict;
  value.dict_ = std::make_shared<Dict>(std::move(from));
  return value;
}
Value Value::name_space(Dict from) {
  Value value = dict(std::move(from));
  value.kind_ = Kind::kNamespace;
  return value;
}
Value Value::macro(const Node* definition) {
  Value value;
  value.kind_ = Kind::kMacro;
  value.macro_ = definition;
  return value;
}

Value Value::from_json(const nlohmann::ordered_json& json) {
  if (json.is_null()) return none();
  if (json.is_boolean()) return boolean(json.get<bool>());
  if (json.is_number_integer()) return integer(json.get<int64_t>());
  if (json.is_number()) return number(json.get<double>());
  if (json.is_string()) return string(json.get<std::string>());
  if (json.is_array()) {
    List entries;
    for (const auto& entry : json) entries.push_back(from_json(entry));
    return list(std::move(entries));
  }
  Dict entries;
  for (const auto& [key, entry] : json.items()) entries.emplace_back(key, from_json(entry));
  return dict(std::move(entries));
}

bool Value::truthy() const {
  switch (kind_) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return int_ != 0;
    case Kind::kFloat:
      return float_ != 0.0;
    case Kind::kString:
      return !string_->empty();
    case Kind::kList:
      return !list_->empty();
    case Kind::kDict:
      return !dict_->empty();
    default:
      return true;
  }
}

const Value* Value::find(std::string_view key) const {
  for (const auto& [name, value] : *dict_) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string_view Value::type_name() const {
  switch (kind_) {
    case Kind::kUndefined:
      return "an undefined value";
    case Kind::kNone:
      return "none";
    case Kind::kBool:
      return "a boolean";
    case Kind::kInt:
      return "an integer";
    case Kind::kFloat:
      return "a float";
    case Kind::kString:
      return "a string";
    case Kind::kList:
      return "a list";
    case Kind::kDict:
      return "a mapping";
    case Kind::kNamespace:
      return "a namespace";
    default:
      return "a macro";
  }
}

std::string Value::to_text() const {
  if (kind_ == Kind::kUndefined) return {};
  return kind_ == Kind::kString ? *string_ : to_repr();
}

std::string Value::to_repr() const {
  switch (kind_) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return int_ != 0 ? "True" : "False";
    case Kind::kInt:
      return std::to_string(int_);
    case Kind::kFloat:
      return float_text(float_);
    case Kind::kString:
      return repr_of_string(*string_);
    case Kind::kList: {
      std::string out;
      for (const Value& entry : *list_) out += (out.empty() ? "" : ", ") + entry.to_repr();
      if (!is_tuple_) return "[" + out + "]";
      return "(" + out + (list_->size() == 1 ? ",)" : ")");
    }
    case Kind::kDict: {
      std::string out = "{";
      for (const auto& [key, entry] : *dict_)
        out += (out.size() > 1 ? ", " : "") + repr_of_string(key) + ": " + entry.to_repr();
      return out + "}";
    }
    default:
      throw std::invalid_argument(fmt::format("{} cannot be printed", type_name()));
  }
}

std::string Value::to_json(int indent) const {
  std::string out;
  append_json(*this, indent, 0, out);
  return out;
}

bool operator==(const Value& a, const Value& b) {
  using Kind = Value::Kind;
  if (a.is_number() && b.is_number()) {
    return a.is(Kind::kFloat) || b.is(Kind::kFloat) ? a.as_double() == b.as_double() : a.int_ == b.int_;
  }
  if (a.kind_ != b.kind_) return false;
  switch (a.kind_) {
    case Kind::kString:
      return *a.string_ == *b.string_;
    case Kind::kList:
      return *a.list_ == *b.list_;
    case Kind::kDict: {
      if (a.dict_->size() != b.dict_->size()) return false;
      for (const auto& [key, value] : *a.dict_) {
        const Value* other = b.find(key);
        if (other == nullptr || !(value == *other)) return false;
      }
      return true;
    }
    case Kind::kNamespace:
      return a.dict_ == b.dict_;
    case Kind::kMacro:
      return a.macro_ == b.macro_;
    default:
      return true;
  }
}

bool Value::less(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    return a.is(Kind::kFloat) || b.is(Kind::kFloat) ? a.as_double() < b.as_double() : a.int_ < b.int_;
  }
  if (a.is(Kind::kString) && b.is(Kind::kString)) return *a.string_ < *b.string_;
  throw std::invalid_argument(fmt::format("{} and {} have no order", a.type_name(), b.type_name()));
}

}  // namespace aqlm_exp::text::jinja
