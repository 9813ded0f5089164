// Overrides as text again: print_override(parse_override(x)) parses to the same override.
#include <cmath>

#include "framework/base/error.h"
#include "framework/config/override_grammar.h"
#include "framework/config/override_text.h"
#include "framework/config/scalar.h"

namespace aqlm_exp::config {
namespace {

/// A string as a bare element with escapes, as Hydra prints it, or "" when it needs quotes.
std::string bare_text(const std::string& text, bool is_key) {
  if (text.empty() || text.front() == '\'' || text.front() == '"') return {};
  std::string out;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x20 && c != '\t') return {};
    if (kOverrideEscapable.find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  if (out.size() != text.size()) return out;  // escapes make text of whatever it looks like
  const ScalarReading reading = read_override_scalar(text, {});
  if (!reading.value) return {};
  return (is_key ? !reading.value->is_null() : reading.value->is_string()) ? out : std::string();
}

std::string quoted_text(const std::string& text, char quote) {
  std::string out(1, quote);
  size_t backslashes = 0;
  for (const char c : text) {
    if (c == '\\') {
      ++backslashes;
      continue;
    }
    out.append(c == quote ? 2 * backslashes : backslashes, '\\');
    backslashes = 0;
    if (c == quote) out.push_back('\\');
    out.push_back(c);
  }
  out.append(2 * backslashes, '\\');
  out.push_back(quote);
  return out;
}

/// True for text made of references and harmless characters, which parses back as it stands.
bool is_plain_reference(const std::string& text) {
  if (text.find("${") == std::string::npos || is_override_blank(text.front()) || is_override_blank(text.back()))
    return false;
  if (text.back() == '\\') return false;  // would escape the comma or bracket that may follow
  std::vector<Problem> problems;
  const auto parsed = parse_value(text, {}, problems);
  return parsed && parsed->size() == 1 && parsed->front().kind == Element::Kind::kBare &&
         parsed->front().value.is_string() && parsed->front().value.as_string() == text;
}

std::string print_scalar(const Node& value, bool is_quoted, char quote) {
  switch (value.kind()) {
    case Node::Kind::kNull:
      return "null";
    case Node::Kind::kBool:
      return value.as_bool() ? "True" : "False";  // Hydra's spelling, which both read back
    case Node::Kind::kInt:
      return std::to_string(value.as_int());
    case Node::Kind::kFloat:
      return float_text(value.as_number());
    default:
      break;
  }
  const std::string& text = value.as_string();
  if (is_quoted) return quoted_text(text, quote);
  if (text.find("${") != std::string::npos) return is_plain_reference(text) ? text : quoted_text(text, quote);
  const std::string bare = bare_text(text, false);
  return bare.empty() ? quoted_text(text, quote) : bare;
}

}  // namespace

std::string Override::key_text() const {
  constexpr const char* kPrefixes[] = {"", "+", "++", "~"};
  return kPrefixes[static_cast<int>(kind)] + key + (package ? "@" + *package : std::string());
}

std::string print_element(const Element& element) {
  std::string out;
  switch (element.kind) {
    case Element::Kind::kBare:
      return print_scalar(element.value, false, element.quote);
    case Element::Kind::kQuoted:
      return print_scalar(element.value, true, element.quote);
    case Element::Kind::kList:
      for (const Element& item : element.items) out += (out.empty() ? "" : ",") + print_element(item);
      return "[" + out + "]";
    case Element::Kind::kMap:
      for (size_t i = 0; i < element.items.size(); ++i) {
        const std::string bare = bare_text(element.names[i], true);
        out += (i == 0 ? "" : ",") + (bare.empty() ? quoted_text(element.names[i], '\'') : bare) + ":" +
               print_element(element.items[i]);
      }
      return "{" + out + "}";
    case Element::Kind::kCall:
      for (size_t i = 0; i < element.items.size(); ++i) {
        out += (i == 0 ? "" : ",") + (element.names[i].empty() ? "" : element.names[i] + "=") +
               print_element(element.items[i]);
      }
      return element.name + "(" + out + ")";
  }
  return out;
}

std::string scalar_text(const Node& value) {
  if (value.is_string()) return value.as_string();
  if (value.is_bool()) return value.as_bool() ? "true" : "false";
  return print_scalar(value, false, '\'');
}

std::string print_override(const Override& override) {
  std::string out = override.key_text();
  if (!override.has_value) return out;
  out += "=";
  for (size_t i = 0; i < override.elements.size(); ++i) {
    const Element& element = override.elements[i];
    const bool empty =
        element.kind == Element::Kind::kBare && element.value.is_string() && element.value.as_string().empty();
    out += (i == 0 ? "" : ",") + (empty && override.elements.size() == 1 ? std::string() : print_element(element));
  }
  return out;
}

Element element_of(const Node& value) {
  Element out;
  out.mark = value.mark();
  if (value.is_list()) {
    out.kind = Element::Kind::kList;
    for (const Node& item : value.items()) out.items.push_back(element_of(item));
  } else if (value.is_map()) {
    out.kind = Element::Kind::kMap;
    for (const MapEntry& entry : value.map_value().entries()) {
      out.names.push_back(entry.key);
      out.items.push_back(element_of(entry.value));
    }
  } else {
    out.value = value;
  }
  return out;
}

Node node_of(const Element& element) {
  switch (element.kind) {
    case Element::Kind::kBare:
    case Element::Kind::kQuoted:
      return element.value;
    case Element::Kind::kList: {
      Node::List items;
      for (const Element& item : element.items) items.push_back(node_of(item));
      return Node::list(std::move(items), element.mark);
    }
    case Element::Kind::kMap: {
      Node out = Node::map(element.mark);
      for (size_t i = 0; i < element.items.size(); ++i) {
        out.map_value().set(element.names[i], node_of(element.items[i]), element.items[i].mark);
      }
      return out;
    }
    case Element::Kind::kCall:
      break;
  }
  throw InternalError("[override_grammar] call " + element.name + "() has no value of its own");
}

}  // namespace aqlm_exp::config
