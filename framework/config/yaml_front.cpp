#include "framework/config/yaml_front.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <sstream>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "framework/config/scalar.h"

namespace aqlm_exp::config {
namespace {

constexpr size_t kMaxKeyBytes = 1024;
constexpr std::string_view kTagPrefix = "tag:yaml.org,2002:";

/// Leaves yaml-cpp's parser once a fault makes the rest meaningless.
struct Stop : std::exception {};

/// Turns yaml-cpp's marks (0-based, bytes) into ours (1-based, characters) and finds bytes in the text.
class Positions {
 public:
  Positions(std::string_view text, std::string source) : text_(text), source_(std::move(source)) {
    starts_.push_back(0);
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') starts_.push_back(i + 1);
    }
  }

  size_t offset(int line, int column) const {
    if (line < 0 || static_cast<size_t>(line) >= starts_.size()) return text_.size();
    return std::min(starts_[static_cast<size_t>(line)] + static_cast<size_t>(std::max(column, 0)), text_.size());
  }
  size_t offset(const YAML::Mark& mark) const { return offset(mark.line, mark.column); }

  Mark mark_at(size_t offset) const {
    const auto after = std::upper_bound(starts_.begin(), starts_.end(), offset);
    const size_t line = static_cast<size_t>(after - starts_.begin()) - 1;
    // Marks come mostly in the order of the text: counting goes on where it ended, or a long line would cost a square.
    if (line != last_line_ || offset < last_offset_) {
      last_line_ = line;
      last_offset_ = starts_[line];
      last_column_ = 1;
    }
    for (; last_offset_ < offset && last_offset_ < text_.size(); ++last_offset_) {
      if ((text_[last_offset_] & 0xC0) != 0x80) ++last_column_;
    }
    return {source_, static_cast<int>(line) + 1, last_column_};
  }
  Mark mark(const YAML::Mark& mark) const { return mark_at(offset(mark)); }

  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
  std::string source_;
  std::vector<size_t> starts_;  // offset of each line
  mutable size_t last_line_ = 0, last_offset_ = 0;
  mutable int last_column_ = 1;
};

/// Builds the tree from events.
class Builder final : public YAML::EventHandler {
 public:
  Builder(const Positions& positions, const YamlLimits& limits, std::vector<Problem>& problems)
      : positions_(positions), limits_(limits), problems_(problems) {}

  Node take() { return std::move(root_); }
  bool has_content() const { return has_content_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(Node::null(positions_.mark(mark)), anchor, {}, /*plain=*/true);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const Mark where = positions_.mark(mark);
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      fault("Y108", where, "the anchor of this alias contains the alias itself",
            "repeat the value in place of the alias");
      throw Stop();
    }
    num_alias_nodes_ += found->second.num_nodes;
    const size_t total = num_nodes_ + num_alias_nodes_;
    if (num_alias_nodes_ > limits_.max_alias_nodes || (total > 1000 && total > limits_.max_growth * (num_nodes_ + 1))) {
      fault("Y105", where,
            fmt::format("aliases expand to {} nodes from {} written ones, need at most {} and {}-fold growth",
                        num_alias_nodes_, num_nodes_, limits_.max_alias_nodes, limits_.max_growth),
            "write the values out, or use ${references}, which are counted where they are used");
      throw Stop();
    }
    charge(where, 0);
    check_depth(where, stack_.size() + depth(found->second.node));
    add(found->second.node, 0, {}, /*plain=*/false);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const Mark where = positions_.mark(mark);
    const bool plain = tag == "?" || tag.empty();
    if (!plain) check_terminated(mark, where);
    charge(where, 1);
    add(scalar(where, tag, value), anchor, value, plain);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::list({}, positions_.mark(mark)), tag, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::map(positions_.mark(mark)), tag, anchor);
  }
  void OnMapEnd() override {
    Frame& frame = stack_.back();
    if (!frame.merges.empty()) apply_merges(frame);
    close();
  }

 private:
  struct Frame {
    Node node;
    YAML::anchor_t anchor = 0;
    size_t nodes_before = 0;  // written and alias nodes when the frame opened
    bool has_key = false;
    bool skip_value = false;  // the key was refused; its value is read and dropped
    std::string key;
    Mark key_mark;
    bool is_merge = false;
    std::vector<Node> merges;
    Mark merge_mark;
  };
  struct Anchored {
    Node node;
    size_t num_nodes = 1;
  };

  void fault(const char* code, Mark where, std::string message, std::string help = {}, int length = 1,
             std::string hint = {}) {
    Problem problem{code, std::move(where), path(), std::move(message), std::move(help)};
    problem.length = length;
    problem.hint = std::move(hint);
    problems_.push_back(std::move(problem));
    if (problems_.size() > kMaxProblems) throw Stop();
  }

  std::string path() const {
    std::string out;
    for (const Frame& frame : stack_) {
      if (frame.node.is_map() && frame.has_key) {
        out += (out.empty() ? "" : ".") + frame.key;
      } else if (frame.node.is_list()) {
        out += "[" + std::to_string(frame.node.items().size()) + "]";
      }
    }
    return out;
  }

  void charge(const Mark& where, size_t nodes) {
    num_nodes_ += nodes;
    if (num_nodes_ + num_alias_nodes_ > limits_.max_nodes) {
      fault("Y105", where, fmt::format("more than {} nodes", limits_.max_nodes), "split the file");
      throw Stop();
    }
  }

  void check_depth(const Mark& where, size_t levels) {
    if (levels <= static_cast<size_t>(limits_.max_depth)) return;
    fault("Y105", where, fmt::format("nested deeper than {} levels", limits_.max_depth), "flatten the value");
    throw Stop();
  }

  static size_t depth(const Node& node) {
    size_t deepest = 0;
    if (node.is_list()) {
      for (const Node& item : node.items()) deepest = std::max(deepest, depth(item));
    } else if (node.is_map()) {
      for (const MapEntry& entry : node.map_value().entries()) deepest = std::max(deepest, depth(entry.value));
    } else {
      return 0;
    }
    return deepest + 1;
  }

  /// Keeps a copy for later aliases. Anchors inside anchors are copied once a level, so the copies are counted.
  void remember(YAML::anchor_t anchor, const Node& node, size_t size) {
    num_anchored_nodes_ += size;
    if (num_anchored_nodes_ > limits_.max_nodes) {
      fault("Y105", node.mark(), fmt::format("more than {} nodes under anchors", limits_.max_nodes),
            "remove anchors that nothing uses");
      throw Stop();
    }
    anchors_[anchor] = {node, size};
  }

  /// yaml-cpp accepts a quoted scalar that never ends, when the text ends in a newline.
  void check_terminated(const YAML::Mark& mark, const Mark& where) {
    const std::string_view text = positions_.text();
    size_t i = positions_.offset(mark);
    while (i < text.size() && (text[i] == '&' || text[i] == '!')) {  // properties stand before the quote
      while (i < text.size() && text[i] != ' ' && text[i] != '\t' && text[i] != '\n' && text[i] != '\r') ++i;
      while (i < text.size() && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r')) ++i;
    }
    if (i >= text.size() || (text[i] != '"' && text[i] != '\'')) return;
    const char quote = text[i];
    for (++i; i < text.size(); ++i) {
      if (quote == '"' && text[i] == '\\') {
        ++i;
      } else if (text[i] == quote) {
        if (quote == '"' || i + 1 >= text.size() || text[i + 1] != '\'') return;
        ++i;
      }
    }
    fault("Y114", where, fmt::format("the quote {} is never closed", quote),
          fmt::format("end the value with {}", quote));
    throw Stop();
  }

  Node scalar(const Mark& where, const std::string& tag, const std::string& value) {
    const int length = static_cast<int>(std::min<size_t>(std::max<size_t>(value.size(), 1), 200));
    if (tag == "!") return Node::string(value, where);
    std::string_view wanted;
    if (tag != "?" && !tag.empty()) {
      wanted = tag;
      if (wanted.substr(0, kTagPrefix.size()) != kTagPrefix) {
        bad_tag(where, tag);
        return Node::null(where);
      }
      wanted.remove_prefix(kTagPrefix.size());
      if (wanted == "str") return Node::string(value, where);
      if (wanted != "int" && wanted != "float" && wanted != "bool" && wanted != "null") {
        bad_tag(where, tag);
        return Node::null(where);
      }
    }
    ScalarReading reading = read_yaml_scalar(value, where);
    if (reading.fault != ScalarReading::Fault::kNone) {
      fault(reading.fault == ScalarReading::Fault::kAmbiguous ? "Y106" : "Y110", where, reading.message, reading.help,
            length);
      return Node::null(where);
    }
    Node node = std::move(*reading.value);
    if (wanted.empty()) return node;
    if (wanted == "float" && node.is_int()) node = Node::number(node.as_number(), where);
    const bool fits = (wanted == "int" && node.is_int()) || (wanted == "float" && node.is_float()) ||
                      (wanted == "bool" && node.is_bool()) || (wanted == "null" && node.is_null());
    if (!fits) {
      fault("Y107", where, fmt::format("'{}' is tagged !!{} but reads as {}", value, wanted, kind_name(node.kind())),
            "drop the tag, or write a value of that type", length);
    }
    return node;
  }

  void bad_tag(const Mark& where, const std::string& tag) {
    fault("Y107", where,
          fmt::format("tag '{}' has no meaning here, need none or !!str !!int !!float !!bool !!null", tag),
          "drop the tag; a component is named by its 'type' key");
  }

  void open(Node node, const std::string& tag, YAML::anchor_t anchor) {
    const Mark where = node.mark();
    has_content_ = true;
    charge(where, 1);
    if (tag != "?" && !tag.empty() && tag != "!") bad_tag(where, tag);
    check_depth(where, stack_.size() + 1);
    if (!stack_.empty() && stack_.back().node.is_map() && !stack_.back().has_key) {
      fault("Y111", where, fmt::format("a {} is used as a key, need a word or a number", kind_name(node.kind())),
            "quote the key if it is meant as text");
      throw Stop();
    }
    Frame frame;
    frame.node = std::move(node);
    frame.anchor = anchor;
    frame.nodes_before = num_nodes_ + num_alias_nodes_ - 1;
    stack_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    const size_t size = num_nodes_ + num_alias_nodes_ - frame.nodes_before;
    if (frame.anchor != 0) remember(frame.anchor, frame.node, size);
    place(std::move(frame.node));
  }

  /// A scalar or an alias: a key, or a value.
  void add(Node node, YAML::anchor_t anchor, const std::string& text, bool plain) {
    has_content_ = has_content_ || !(node.is_null() && text.empty());
    if (anchor != 0) remember(anchor, node, 1);
    if (stack_.empty() || !stack_.back().node.is_map() || stack_.back().has_key) {
      place(std::move(node));
      return;
    }
    Frame& frame = stack_.back();
    const Mark where = node.mark();
    frame.has_key = true;
    frame.key_mark = where;
    frame.skip_value = false;
    frame.is_merge = plain && text == "<<";
    switch (node.kind()) {
      case Node::Kind::kString:
        frame.key = node.as_string();
        break;
      case Node::Kind::kInt:
        frame.key = std::to_string(node.as_int());
        break;
      case Node::Kind::kBool:
        frame.key = node.as_bool() ? "true" : "false";
        break;
      case Node::Kind::kFloat:
        frame.key = float_text(node.as_number());
        break;
      default:
        frame.key = text;
        frame.skip_value = true;
        // A refused scalar (ambiguous, bad tag) reads as null and has already been reported.
        if (problems_.empty() ||
            !(problems_.back().mark.line == where.line && problems_.back().mark.column == where.column)) {
          fault("Y111", where, fmt::format("{} is used as a key, need a word or a number", kind_name(node.kind())),
                "quote the key if it is meant as text: \"null\"");
        }
    }
    if (frame.key.size() > kMaxKeyBytes) {
      fault("Y105", where, fmt::format("a key of {} bytes, need at most {}", frame.key.size(), kMaxKeyBytes));
      throw Stop();
    }
  }

  void place(Node node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = stack_.back();
    if (frame.node.is_list()) {
      frame.node.items().push_back(std::move(node));
      return;
    }
    if (frame.skip_value) {
      frame.has_key = false;
      return;
    }
    if (frame.is_merge) {
      collect_merge(frame, node);
    } else if (const auto first = first_key_mark(frame.node, frame.key)) {
      const Mark where = frame.key_mark;
      fault("Y103", where, fmt::format("key '{}' stands twice in one map, first at line {}", frame.key, first->line),
            "keep one of the two", static_cast<int>(frame.key.size()), fmt::format("first at {}", first->str()));
    } else {
      frame.node.map_value().set(frame.key, std::move(node), frame.key_mark);
    }
    frame.has_key = false;
  }

  static const Mark* first_key_mark(const Node& map, const std::string& key) {
    return map.map_value().find_key_mark(key);
  }

  void collect_merge(Frame& frame, const Node& node) {
    if (!frame.merges.empty()) {
      fault("Y103", frame.key_mark, "'<<' stands twice in one map", "write <<: [*a, *b]");
      return;
    }
    frame.merge_mark = frame.key_mark;
    if (node.is_map()) {
      frame.merges.push_back(node);
      return;
    }
    if (node.is_list() && !node.items().empty() &&
        std::all_of(node.items().begin(), node.items().end(), [](const Node& item) { return item.is_map(); })) {
      frame.merges = node.items();
      return;
    }
    fault("Y109", frame.key_mark, fmt::format("'<<' merges a {}, need a map or a list of maps", kind_name(node.kind())),
          "write <<: *anchor, or quote the key if it is meant as text", 2);
  }

  /// Keys written in the map win over merged ones, earlier merged maps over later ones; merged keys come first.
  static void apply_merges(Frame& frame) {
    Node merged = Node::map(frame.node.mark());
    for (const Node& source : frame.merges) {
      for (const MapEntry& entry : source.map_value().entries()) {
        if (merged.map_value().find(entry.key) == nullptr) {
          merged.map_value().set(entry.key, entry.value, entry.key_mark);
        }
      }
    }
    for (MapEntry& entry : frame.node.map_value().entries()) {
      merged.map_value().set(entry.key, std::move(entry.value), entry.key_mark);
    }
    frame.node = std::move(merged);
  }

  const Positions& positions_;
  const YamlLimits& limits_;
  std::vector<Problem>& problems_;
  std::vector<Frame> stack_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  Node root_;
  bool has_content_ = false;
  size_t num_nodes_ = 0;
  size_t num_alias_nodes_ = 0;
  size_t num_anchored_nodes_ = 0;
};

/// Notices whether a further document exists.
class SecondDocument final : public YAML::EventHandler {
 public:
  explicit SecondDocument(const Positions& positions) : positions_(positions) {}
  void OnDocumentStart(const YAML::Mark& mark) override { found(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { found(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { found(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t, const std::string&) override {
    found(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    found(mark);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    found(mark);
  }
  void OnMapEnd() override {}
  const std::optional<Mark>& where() const { return where_; }

 private:
  void found(const YAML::Mark& mark) {
    where_ = positions_.mark(mark);
    throw Stop();
  }
  const Positions& positions_;
  std::optional<Mark> where_;
};

/// UTF-8, and below 0x20 only tab, line feed and carriage return.
bool check_bytes(std::string_view text, const std::string& source, const YamlLimits& limits,
                 std::vector<Problem>& problems) {
  const auto refuse = [&](const char* code, size_t offset, std::string message, std::string help) {
    const Mark mark = Positions(text.substr(0, offset), source).mark_at(offset);
    problems.push_back({code, mark, {}, std::move(message), std::move(help)});
    return false;
  };
  if (text.size() > limits.max_bytes) {
    return refuse("Y105", 0, fmt::format("file of {} bytes, need at most {}", text.size(), limits.max_bytes),
                  "split the file");
  }
  if (text.size() >= 2 && (text.substr(0, 2) == "\xFF\xFE" || text.substr(0, 2) == "\xFE\xFF")) {
    return refuse("Y101", 0, "the file is UTF-16, need UTF-8", "save it as UTF-8");
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) {
      return refuse("Y101", i, fmt::format("control character 0x{:02x}, need text", byte),
                    "remove it, or escape it in \"...\"");
    }
  }
  size_t offset = 0;
  if (!is_utf8(text, offset)) {
    return refuse("Y101", offset, fmt::format("byte 0x{:02x} is no UTF-8", static_cast<unsigned char>(text[offset])),
                  "save the file as UTF-8");
  }
  return true;
}

/// `# @package X`: a comment, which yaml-cpp never delivers.
void scan_header(const Positions& positions, const std::string& source, YamlFile& file,
                 std::vector<Problem>& problems) {
  const std::string_view text = positions.text();
  bool in_header = true;
  int line_number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    ++line_number;
    begin = end + 1;
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line.substr(first) == "---" || line.substr(first) == "---\r") continue;
    if (line[first] != '#') {
      in_header = false;
      continue;
    }
    if (!in_header && first != 0) continue;  // may be text inside a block scalar
    std::istringstream words{std::string(line.substr(first + 1))};
    std::string word, package, extra;
    if (!(words >> word) || word != "@package") continue;
    const Mark mark{source, line_number, static_cast<int>(first) + 1};
    const int length = static_cast<int>(line.size() - first);
    const auto refuse = [&](std::string message, std::string help) {
      Problem problem{"D111", mark, {}, std::move(message), std::move(help)};
      problem.length = length;
      problems.push_back(std::move(problem));
    };
    if (!in_header) {
      refuse("'# @package' stands after the first key, where it has no effect", "move it to the top of the file");
    } else if (!(words >> package) || (words >> extra)) {
      refuse("'# @package' needs exactly one word", "write '# @package _global_' or '# @package a.b'");
    } else if (file.package) {
      refuse(fmt::format("second '# @package', the first is at line {}", file.package_mark.line),
             "keep one of the two");
    } else {
      file.package = package;
      file.package_mark = mark;
    }
  }
}

}  // namespace

std::optional<YamlFile> read_yaml(std::string_view text, const std::string& source, const YamlLimits& limits,
                                  std::vector<Problem>& problems) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
  if (!check_bytes(text, source, limits, problems)) return std::nullopt;
  const size_t problems_before = problems.size();
  const Positions positions(text, source);
  YamlFile file;
  scan_header(positions, source, file, problems);

  std::istringstream stream{std::string(text)};
  Builder builder(positions, limits, problems);
  SecondDocument second(positions);
  try {
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    // At most one more call: asking until the end is reached never returns on inputs such as the single byte ','.
    parser.HandleNextDocument(second);
  } catch (const Stop&) {
  } catch (const YAML::Exception& e) {
    const bool question_mark = !e.mark.is_null() && text.substr(positions.offset(e.mark), 1) == "?";
    problems.push_back({"Y102",
                        e.mark.is_null() ? Mark{source, 1, 1} : positions.mark(e.mark),
                        {},
                        "YAML syntax: " + e.msg,
                        question_mark ? "inside [ ] and { } write \"???\" with quotes"
                                      : "check indentation, quotes and brackets at and above this line"});
  } catch (const std::exception& e) {
    problems.push_back({"Y102", Mark{source, 1, 1}, {}, std::string("YAML syntax: ") + e.what(), {}});
  }
  if (second.where()) {
    problems.push_back({"Y104",
                        *second.where(),
                        {},
                        "a second document starts here, need one document a file",
                        "check the indentation of this line, or remove '---'"});
  }
  if (problems.size() > problems_before) return std::nullopt;
  file.root = builder.take();
  return file;
}

}  // namespace aqlm_exp::config
