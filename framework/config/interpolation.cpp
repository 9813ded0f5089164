#include "framework/config/interpolation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <unordered_map>
#include <utility>

#include "framework/config/merge.h"
#include "framework/config/override_grammar.h"
#include "framework/config/reference_text.h"
#include "framework/config/scalar.h"
#include "framework/config/suggestions.h"

namespace aqlm_exp::config {
namespace {

using Path = std::vector<std::string>;

constexpr size_t kMaxCopiedNodes = 100000;
constexpr size_t kMaxTotalBytes = size_t{16} << 20;
const std::vector<std::string> kResolvers = {"oc.env", "oc.decode", "oc.select", "oc.dict.keys", "oc.dict.values"};

/// The value cannot be computed; the problem has been recorded.
struct Failed {};

std::string join_path(const Path& path) {
  std::string out;
  for (const std::string& part : path) out = join_key(out, part);
  return out;
}

/// Names whose values may not be stored with results.
bool is_secret(const std::string& name) {
  std::string upper = name;
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  for (const char* word : {"KEY", "TOKEN", "SECRET", "PASS"}) {
    if (upper.find(word) != std::string::npos) return true;
  }
  return false;
}

class Resolver {
 public:
  Resolver(const Node& root, std::vector<Problem>& problems, const std::vector<std::string>& raw,
           const InterpolationLimits& limits)
      : root_(root), problems_(problems), raw_(raw), limits_(limits) {}

  InterpolationResult run() {
    InterpolationResult out;
    out.tree = resolve_tree(root_, {});
    out.environment = std::move(environment_);
    return out;
  }

 private:
  struct Active {
    const Node* node;
    std::string path;
  };

  [[noreturn]] void fail(const char* code, const Node& at, std::string message, std::string help = {},
                         std::string hint = {}) {
    Problem problem{code, at.mark(), stack_.empty() ? std::string() : stack_.back().path, std::move(message),
                    std::move(help)};
    problem.hint = std::move(hint);
    problem.length = static_cast<int>(std::min<size_t>(std::max<size_t>(at.as_string().size(), 1), 200));
    problems_.push_back(std::move(problem));
    throw Failed();
  }

  /// Resolves what it can; each failing string is one problem.
  Node resolve_tree(const Node& node, const Path& path) {
    if (!raw_.empty() && !path.empty() && std::find(raw_.begin(), raw_.end(), join_path(path)) != raw_.end())
      return node;
    if (node.is_map()) {
      Node out = Node::map(node.mark());
      Path inner = path;
      inner.emplace_back();
      for (const MapEntry& entry : node.map_value().entries()) {
        inner.back() = entry.key;
        out.map_value().set(entry.key, resolve_tree(entry.value, inner), entry.key_mark);
      }
      return out;
    }
    if (node.is_list()) {
      Node::List items;
      Path inner = path;
      inner.emplace_back();
      for (size_t i = 0; i < node.items().size(); ++i) {
        inner.back() = std::to_string(i);
        items.push_back(resolve_tree(node.items()[i], inner));
      }
      return Node::list(std::move(items), node.mark());
    }
    if (!needs_resolving(node)) return node;
    try {
      return resolve_string(node, path);
    } catch (const Failed&) {
      return Node::null(node.mark());
    }
  }

  static bool needs_resolving(const Node& node) {
    return node.is_string() && !node.is_final() && has_references(node.as_string());
  }

  /// A copy with everything resolved; throws Failed.
  Node resolve_node(const Node& node, const Path& path) {
    if (++num_copied_ > kMaxCopiedNodes) too_many_nodes();
    if (node.is_map()) {
      Node out = Node::map(node.mark());
      Path inner = path;
      inner.emplace_back();
      for (const MapEntry& entry : node.map_value().entries()) {
        inner.back() = entry.key;
        out.map_value().set(entry.key, resolve_node(entry.value, inner), entry.key_mark);
      }
      return out;
    }
    if (node.is_list()) {
      Node::List items;
      Path inner = path;
      inner.emplace_back();
      for (size_t i = 0; i < node.items().size(); ++i) {
        inner.back() = std::to_string(i);
        items.push_back(resolve_node(node.items()[i], inner));
      }
      return Node::list(std::move(items), node.mark());
    }
    if (needs_resolving(node)) return charged(resolve_string(node, path));
    return node;
  }

  /// A value that is about to be copied: its nodes count, so that maps of references to maps cannot grow exponentially.
  const Node& charged(const Node& value) {
    num_copied_ += count(value, kMaxCopiedNodes);
    if (num_copied_ > kMaxCopiedNodes) too_many_nodes();
    return value;
  }

  static size_t count(const Node& node, size_t limit) {
    size_t total = 1;
    if (node.is_map()) {
      for (const MapEntry& entry : node.map_value().entries()) {
        if (total > limit) break;
        total += count(entry.value, limit);
      }
    } else if (node.is_list()) {
      for (const Node& item : node.items()) {
        if (total > limit) break;
        total += count(item, limit);
      }
    }
    return total;
  }

  [[noreturn]] void too_many_nodes() {
    fail("I107", *stack_.back().node, fmt::format("references copy more than {} nodes", kMaxCopiedNodes),
         "refer to smaller parts");
  }

  const Node& resolve_string(const Node& node, const Path& path) {
    if (const auto done = done_.find(&node); done != done_.end()) {
      if (!done->second) throw Failed();  // reported when it was first tried
      return *done->second;
    }
    for (size_t i = 0; i < stack_.size(); ++i) {
      if (stack_[i].node != &node) continue;
      report_cycle(i);
    }
    if (stack_.size() >= static_cast<size_t>(limits_.max_depth)) {
      fail("I107", node, fmt::format("references nested deeper than {} levels", limits_.max_depth),
           "shorten the chain");
    }
    if (++num_resolutions_ > limits_.max_resolutions) {
      fail("I107", node, fmt::format("more than {} references", limits_.max_resolutions), "write values out");
    }
    stack_.push_back({&node, join_path(path)});
    try {
      auto value = std::make_unique<Node>(evaluate(node, path));
      stack_.pop_back();
      return *(done_[&node] = std::move(value));
    } catch (const Failed&) {
      stack_.pop_back();
      done_[&node] = nullptr;
      throw;
    }
  }

  [[noreturn]] void report_cycle(size_t first) {
    std::string chain;
    for (size_t i = first; i < stack_.size(); ++i) {
      chain += fmt::format("{} ({}) -> ", stack_[i].path, stack_[i].node->mark().str());
    }
    const Node& start = *stack_[first].node;
    // All members of the cycle fail with this one message.
    for (size_t i = first; i < stack_.size(); ++i) done_[stack_[i].node] = nullptr;
    fail("I104", start, "references form a cycle: " + chain + stack_[first].path,
         "give one of them a value of its own");
  }

  Node evaluate(const Node& node, const Path& path) {
    TextFault fault;
    const auto pieces = parse_text(node.as_string(), fault);
    if (!pieces) {
      Node at = node;
      at.set_mark({node.mark().source, node.mark().line, node.mark().column});
      fail("I101", at, fmt::format("{} (at character {} of the text)", fault.message, fault.offset + 1),
           "write \\${ for the characters themselves");
    }
    Path container = path;
    if (!container.empty()) container.pop_back();
    if (pieces->size() == 1 && pieces->front().kind != TextPiece::Kind::kLiteral) {
      Node value = evaluate_piece(pieces->front(), node, container);
      mark_final(value);
      return value;
    }
    Node out = Node::string(join_text(*pieces, node, container), node.mark());
    mark_final(out);
    return out;
  }

  /// Strings that hold "${" after resolution are data.
  static void mark_final(Node& node) {
    if (node.is_string()) node.set_final(true);
  }

  std::string join_text(const std::vector<TextPiece>& pieces, const Node& at, const Path& container) {
    std::string out;
    for (const TextPiece& piece : pieces) {
      out += piece.kind == TextPiece::Kind::kLiteral ? piece.text
                                                     : text_of(evaluate_piece(piece, at, container), piece, at);
      if (out.size() > limits_.max_string_bytes) {
        fail("I107", at, fmt::format("the text grows beyond {} bytes", limits_.max_string_bytes), "shorten it");
      }
    }
    num_bytes_ += out.size();
    if (num_bytes_ > kMaxTotalBytes) {
      fail("I107", at, fmt::format("references make more than {} bytes of text in all", kMaxTotalBytes),
           "shorten them");
    }
    return out;
  }

  std::string text_of(const Node& value, const TextPiece& piece, const Node& at) {
    switch (value.kind()) {
      case Node::Kind::kNull:
        return "None";
      case Node::Kind::kBool:
        return value.as_bool() ? "True" : "False";
      case Node::Kind::kInt:
        return std::to_string(value.as_int());
      case Node::Kind::kFloat:
        return float_text(value.as_number());
      case Node::Kind::kString:
        return value.as_string();
      default:
        fail("I108", at,
             fmt::format("'{}' is a {}, which cannot stand inside text", piece.text, kind_name(value.kind())),
             "make the reference the whole value, or name one of its keys");
    }
  }

  Node evaluate_piece(const TextPiece& piece, const Node& at, const Path& container) {
    if (piece.kind == TextPiece::Kind::kCall) return call(piece, at, container);
    Path target;
    if (piece.num_dots > 0) target = ancestor(piece.num_dots, piece.text, at, container);
    for (const auto& step : piece.parts) target.push_back(join_text(step, at, container));
    return lookup(target, piece.text, at);
  }

  Path ancestor(int num_dots, const std::string& text, const Node& at, const Path& container) {
    if (static_cast<size_t>(num_dots - 1) > container.size()) {
      fail("I103", at,
           fmt::format("'{}' goes {} levels up, but the value is only {} levels deep", text, num_dots - 1,
                       container.size()),
           "use fewer dots, or an absolute reference");
    }
    return Path(container.begin(), container.end() - (num_dots - 1));
  }

  /// The node under `path`; references met on the way are resolved. nullptr: not there, `depth` is the failing step.
  const Node* find(const Path& path, Path& actual, bool& resolved, size_t& depth) {
    const Node* node = &root_;
    resolved = false;
    actual.clear();
    for (depth = 0; depth < path.size(); ++depth) {
      if (!resolved && needs_resolving(*node)) {
        node = &resolve_string(*node, actual);
        resolved = true;
      }
      const std::string& part = path[depth];
      if (node->is_map()) {
        node = node->map_value().find(part);
        actual.push_back(part);
      } else if (node->is_list()) {
        const auto& items = node->items();
        const ScalarReading index = read_override_scalar(part, {});
        if (!index.value || !index.value->is_int()) return nullptr;
        const int64_t size = static_cast<int64_t>(items.size());
        const int64_t i = index.value->as_int() < 0 ? index.value->as_int() + size : index.value->as_int();
        if (i < 0 || i >= size) return nullptr;
        node = &items[static_cast<size_t>(i)];
        actual.push_back(std::to_string(i));
      } else {
        return nullptr;
      }
      if (node == nullptr) return nullptr;
    }
    return node;
  }

  Node lookup(const Path& path, const std::string& text, const Node& at) {
    Path actual;
    bool resolved = false;
    size_t depth = 0;
    const Node* node = find(path, actual, resolved, depth);
    if (node == nullptr) report_not_found(path, depth, text, at);
    if (node->is_missing()) {
      fail("I105", at,
           fmt::format("'{}' refers to '{}', a required value that is not given (??? at {})", text, join_path(path),
                       node->mark().str()),
           fmt::format("set it: {}=VALUE", join_path(path)));
    }
    return resolved ? charged(*node) : resolve_node(*node, actual);
  }

  [[noreturn]] void report_not_found(const Path& path, size_t depth, const std::string& text, const Node& at) {
    Path before(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(depth));
    Path actual;
    bool resolved = false;
    size_t ignored = 0;
    const Node* container = find(before, actual, resolved, ignored);
    std::string hint, where = before.empty() ? std::string("the root") : "'" + join_path(before) + "'";
    if (container != nullptr && container->is_map()) {
      std::vector<std::string> near = nearest_names(path[depth], keys_of(*container));
      for (std::string& name : near) name = join_key(join_path(before), name);
      hint = did_you_mean(near);
    } else if (container != nullptr && container->is_list()) {
      where += fmt::format(", a list of {} elements,", container->items().size());
    }
    fail("I103", at, fmt::format("reference '{}' not found: {} has no '{}'", text, where, path[depth]),
         "references are absolute unless they start with a dot", hint);
  }

  // --- resolvers --------------------------------------------------------------------------------------------------

  Node argument(const std::vector<TextPiece>& pieces, const Node& at, const Path& container) {
    if (pieces.empty()) return Node::string("", at.mark());
    if (pieces.size() == 1 && pieces.front().kind != TextPiece::Kind::kLiteral) {
      return evaluate_piece(pieces.front(), at, container);
    }
    if (pieces.size() > 1) {
      std::string text = join_text(pieces, at, container);
      if (text.size() >= 2 && (text.front() == '\'' || text.front() == '"') && text.back() == text.front()) {
        text = text.substr(1, text.size() - 2);
      }
      return Node::string(std::move(text), at.mark());
    }
    return decode(pieces.front().text, at);
  }

  /// Reads text as an element of the override grammar, without calls.
  Node decode(const std::string& text, const Node& at) {
    std::vector<Problem> faults;
    const auto elements = parse_value(text, at.mark(), faults);
    if (!elements || elements->size() != 1 || has_call(elements->front())) {
      fail("I110", at,
           fmt::format("cannot read '{}' as a value{}", text,
                       faults.empty() ? std::string() : ": " + faults.front().message),
           "quote it if it is meant as text");
    }
    return node_of(elements->front());
  }

  static bool has_call(const Element& element) {
    return element.kind == Element::Kind::kCall || std::any_of(element.items.begin(), element.items.end(), has_call);
  }

  std::string text_argument(const TextPiece& piece, size_t i, const Node& at, const Path& container) {
    const Node value = argument(piece.parts[i], at, container);
    if (value.is_list() || value.is_map()) {
      fail("I110", at, fmt::format("{}: argument {} is a {}, need text", piece.text, i + 1, kind_name(value.kind())));
    }
    return text_of(value, piece, at);
  }

  void need_arguments(const TextPiece& piece, size_t min, size_t max, const Node& at) {
    const size_t got = piece.parts.size();
    if (got >= min && got <= max) return;
    fail("I110", at,
         fmt::format("{}: got {} arguments, need {}", piece.text, got,
                     min == max ? std::to_string(min) : fmt::format("{} or {}", min, max)));
  }

  Node call(const TextPiece& piece, const Node& at, const Path& container) {
    if (piece.text == "oc.env") return environment(piece, at, container);
    if (piece.text == "oc.decode") {
      need_arguments(piece, 1, 1, at);
      const Node value = argument(piece.parts[0], at, container);
      if (value.is_null()) return value;
      if (!value.is_string()) {
        fail("I110", at, fmt::format("oc.decode: got a {}, need text", kind_name(value.kind())), "drop oc.decode");
      }
      Node decoded = decode(value.as_string(), at);
      mark_final(decoded);
      return decoded;
    }
    if (piece.text == "oc.select") {
      need_arguments(piece, 1, 2, at);
      const Path path = key_argument(piece, at, container);
      Path actual;
      bool resolved = false;
      size_t depth = 0;
      const Node* node = find(path, actual, resolved, depth);
      if (node != nullptr && !node->is_missing()) return resolved ? charged(*node) : resolve_node(*node, actual);
      return piece.parts.size() == 2 ? argument(piece.parts[1], at, container) : Node::null(at.mark());
    }
    if (piece.text == "oc.dict.keys" || piece.text == "oc.dict.values") {
      need_arguments(piece, 1, 1, at);
      const Path path = key_argument(piece, at, container);
      const Node map = lookup(path, join_path(path), at);
      if (!map.is_map()) {
        fail("I110", at,
             fmt::format("{}: '{}' is a {}, need a map", piece.text, join_path(path), kind_name(map.kind())));
      }
      Node::List items;
      for (const MapEntry& entry : map.map_value().entries()) {
        items.push_back(piece.text == "oc.dict.keys" ? Node::string(entry.key, at.mark()) : entry.value);
      }
      return Node::list(std::move(items), at.mark());
    }
    std::string help = "resolvers are: " + join_names(kResolvers);
    if (piece.text == "now")
      help = "the time of day would change the identity of each trial; results record their own time";
    fail("I102", at, fmt::format("unknown resolver '{}'", piece.text), help,
         did_you_mean(nearest_names(piece.text, kResolvers)));
  }

  /// A key given to oc.select and oc.dict.*: absolute, or relative with leading dots.
  Path key_argument(const TextPiece& piece, const Node& at, const Path& container) {
    std::string key = text_argument(piece, 0, at, container);
    int num_dots = 0;
    while (static_cast<size_t>(num_dots) < key.size() && key[static_cast<size_t>(num_dots)] == '.') ++num_dots;
    Path path = num_dots == 0 ? Path() : ancestor(num_dots, key, at, container);
    key = key.substr(static_cast<size_t>(num_dots));
    std::string part;
    for (const char c : key + ".") {
      if (c == '.' || c == '[' || c == ']') {
        if (!part.empty()) path.push_back(part);
        part.clear();
      } else {
        part.push_back(c);
      }
    }
    return path;
  }

  Node environment(const TextPiece& piece, const Node& at, const Path& container) {
    need_arguments(piece, 1, 2, at);
    const std::string name = text_argument(piece, 0, at, container);
    if (is_secret(name)) {
      fail("I109", at,
           fmt::format("environment variable '{}' looks like a secret, and resolved values are stored with results",
                       name),
           "rename it if it is none");
    }
    if (const char* value = std::getenv(name.c_str())) {
      size_t offset = 0;
      if (!is_utf8(value, offset))
        fail("I110", at, fmt::format("environment variable '{}' is no UTF-8", name), "set it to UTF-8 text");
      environment_[name] = value;
      Node out = Node::string(value, at.mark());
      mark_final(out);
      return out;
    }
    if (piece.parts.size() == 1) {
      fail("I106", at, fmt::format("environment variable '{}' is not set", name),
           fmt::format("export {0}=..., or give a default: ${{oc.env:{0},default}}", name));
    }
    const Node value = argument(piece.parts[1], at, container);
    if (value.is_null()) return value;
    Node out = Node::string(text_of(value, piece, at), at.mark());
    mark_final(out);
    return out;
  }

  const Node& root_;
  std::vector<Problem>& problems_;
  const std::vector<std::string>& raw_;
  const InterpolationLimits& limits_;
  std::unordered_map<const Node*, std::unique_ptr<Node>> done_;  // nullptr: failed
  std::vector<Active> stack_;
  std::map<std::string, std::string> environment_;
  size_t num_resolutions_ = 0;
  size_t num_copied_ = 0;
  size_t num_bytes_ = 0;
};

}  // namespace

InterpolationResult resolve_references(const Node& tree, std::vector<Problem>& problems,
                                       const std::vector<std::string>& raw, const InterpolationLimits& limits) {
  return Resolver(tree, problems, raw, limits).run();
}

}  // namespace aqlm_exp::config
