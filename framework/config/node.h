// The configuration tree: what YAML files, overrides and JSON become. Each key and value knows where it was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace aqlm_exp::config {

/// Where something was written: a file with 1-based line and column (in characters), or "override #2" with line 0 and
/// the column inside its text; line 0 and column 0 mean "nowhere in particular".
struct Mark {
  std::string source;
  int line = 0;
  int column = 0;
  std::string str() const;  ///< "file:line:col", "override #2, column 11", or the source alone
};

class Node;
struct MapEntry;

/// A map that keeps first-seen order and finds keys in constant time.
class NodeMap {
 public:
  // Defined where MapEntry is complete.
  NodeMap();
  NodeMap(const NodeMap&);
  NodeMap(NodeMap&&) noexcept;
  NodeMap& operator=(const NodeMap&);
  NodeMap& operator=(NodeMap&&) noexcept;
  ~NodeMap();
  Node* find(std::string_view key);
  const Node* find(std::string_view key) const;
  /// Adds `key`, or replaces its value and keeps its place.
  Node& set(std::string key, Node value, Mark key_mark = {});
  bool erase(std::string_view key);
  /// Where the key was written, or nullptr.
  const Mark* find_key_mark(std::string_view key) const;
  void set_key_mark(std::string_view key, Mark mark);
  const std::vector<MapEntry>& entries() const { return entries_; }
  std::vector<MapEntry>& entries() { return entries_; }
  size_t size() const;
  bool empty() const;

 private:
  std::vector<MapEntry> entries_;
  std::unordered_map<std::string, size_t> index_;
};

class Node {
 public:
  enum class Kind { kNull, kBool, kInt, kFloat, kString, kList, kMap };
  using List = std::vector<Node>;

  Node() = default;
  static Node null(Mark mark = {});
  static Node boolean(bool value, Mark mark = {});
  static Node integer(int64_t value, Mark mark = {});
  static Node number(double value, Mark mark = {});
  static Node string(std::string value, Mark mark = {});
  static Node list(List items = {}, Mark mark = {});
  static Node map(Mark mark = {});

  Kind kind() const { return static_cast<Kind>(value_.index()); }
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_int() const { return kind() == Kind::kInt; }
  bool is_float() const { return kind() == Kind::kFloat; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_list() const { return kind() == Kind::kList; }
  bool is_map() const { return kind() == Kind::kMap; }

  // Each throws InternalError when the node is of another kind.
  bool as_bool() const;
  int64_t as_int() const;
  double as_number() const;  ///< int or float
  const std::string& as_string() const;
  const List& items() const;
  List& items();
  const NodeMap& map_value() const;
  NodeMap& map_value();

  /// The value under a dotted path ("quant.nbits", "list.0"), or nullptr.
  const Node* at(std::string_view dotted) const;

  const Mark& mark() const { return mark_; }
  void set_mark(Mark mark) { mark_ = std::move(mark); }

  /// A string that came out of interpolation: resolving again leaves it alone, also if it holds "${".
  bool is_final() const { return final_; }
  void set_final(bool value) { final_ = value; }

  /// `???`, the required value nobody has given yet.
  bool is_missing() const { return is_string() && !final_ && std::get<std::string>(value_) == "???"; }

 private:
  std::variant<std::monostate, bool, int64_t, double, std::string, List, NodeMap> value_;
  Mark mark_;
  bool final_ = false;
};

struct MapEntry {
  std::string key;
  Node value;
  Mark key_mark;
};

inline size_t NodeMap::size() const { return entries_.size(); }
inline bool NodeMap::empty() const { return entries_.empty(); }

const char* kind_name(Node::Kind kind);

/// Same data: kinds, values and list order; map order and marks do not count.
bool same_data(const Node& a, const Node& b);

/// JSON with keys in their order, on one line or, with indent >= 0, indented. Whole floats keep their ".0"; non-finite
/// numbers become the strings ".inf", "-.inf" and ".nan".
std::string to_json(const Node& node, int indent = -1);
/// The text between quotes, quotes included; bytes that are no UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);
/// Shortest decimal that reads back as the same double, in Python's spelling: "0.1", "1.0", "1e-05", "inf", "nan".
std::string float_text(double value);
/// @throws ConfigError on malformed JSON; `source` names it.
Node from_json(std::string_view text, const std::string& source);

}  // namespace aqlm_exp::config
