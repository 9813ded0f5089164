#include "framework/text/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>

#include "framework/base/error.h"
#include "framework/base/utf8.h"
#include "framework/text/jinja_lexer.h"

namespace aqlm_exp::text::jinja {
namespace {

using NodePtr = std::unique_ptr<Node>;

class Parser {
 public:
  Parser(std::vector<Token> tokens, std::string_view where) : tokens_(std::move(tokens)), where_(where) {}

  NodePtr run() {
    NodePtr block = statements({});
    if (!peek(Token::Kind::kEnd)) fail("K-CHAT-SYNTAX", fmt::format("\"{}\" without what it ends", current().text));
    return block;
  }

 private:
  class Depth {
   public:
    explicit Depth(Parser& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxTemplateDepth) {
        parser_.fail("K-CHAT-LIMIT", fmt::format("nested deeper than {} levels", kMaxTemplateDepth));
      }
    }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    ~Depth() { --parser_.depth_; }

   private:
    Parser& parser_;
  };

  [[noreturn]] void fail(const char* code, const std::string& message) const {
    throw DataError(fmt::format("{}:{}: {}", where_, current().line, message), code);
  }
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead(size_t by) const { return tokens_[std::min(at_ + by, tokens_.size() - 1)]; }
  bool peek(Token::Kind kind) const { return current().kind == kind; }
  bool peek_operator(std::string_view text) const { return peek(Token::Kind::kOperator) && current().text == text; }
  bool peek_name(std::string_view text) const { return peek(Token::Kind::kName) && current().text == text; }
  void next() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool take_operator(std::string_view text) {
    if (!peek_operator(text)) return false;
    next();
    return true;
  }
  bool take_name(std::string_view text) {
    if (!peek_name(text)) return false;
    next();
    return true;
  }
  void need_operator(std::string_view text) {
    if (!take_operator(text)) fail("K-CHAT-SYNTAX", fmt::format("got {}, need \"{}\"", shown(), text));
  }
  std::string need_name() {
    if (!peek(Token::Kind::kName)) fail("K-CHAT-SYNTAX", fmt::format("got {}, need a name", shown()));
    std::string name = current().text;
    next();
    return name;
  }
  void end_tag() {
    if (!peek(Token::Kind::kTagEnd)) fail("K-CHAT-SYNTAX", fmt::format("got {}, need the end of the tag", shown()));
    next();
  }
  std::string shown() const {
    if (peek(Token::Kind::kEnd)) return "the end of the template";
    if (peek(Token::Kind::kTagEnd) || peek(Token::Kind::kPrintEnd)) return "the end of the tag";
    return fmt::format("\"{}\"",
                       current().text.substr(0, utf8_valid_prefix(std::string_view(current().text).substr(0, 40))));
  }
  NodePtr make(NodeKind kind, std::string text = {}) const {
    auto node = std::make_unique<Node>();
    node->kind = kind;
    node->line = current().line;
    node->text = std::move(text);
    return node;
  }
  template <typename... Children>
  NodePtr make_with(NodeKind kind, std::string text, Children... children) const {
    NodePtr node = make(kind, std::move(text));
    (node->children.push_back(std::move(children)), ...);
    measure(*node);
    return node;
  }
  /// Long chains (a + a + ...) nest in the tree though not in the text.
  void measure(Node& node) const {
    for (const NodePtr& child : node.children) {
      if (child != nullptr) node.height = std::max(node.height, child->height + 1);
    }
    for (const auto& entry : node.named) node.height = std::max(node.height, entry.second->height + 1);
    if (node.height > kMaxExpressionHeight) {
      fail("K-CHAT-LIMIT", fmt::format("expression nested deeper than {} levels", kMaxExpressionHeight));
    }
  }

  /// Up to a tag that starts with one of `ends` (its name is left current) or the end of the template.
  NodePtr statements(std::initializer_list<std::string_view> ends) {
    const Depth depth(*this);
    NodePtr block = make(NodeKind::kBlock);
    for (;;) {
      if (peek(Token::Kind::kEnd)) {
        if (ends.size() != 0)
          fail("K-CHAT-SYNTAX", fmt::format("the template ends before {{% {} %}}", *(ends.end() - 1)));
        return block;
      }
      if (peek(Token::Kind::kText)) {
        block->children.push_back(make(NodeKind::kText, current().text));
        next();
      } else if (peek(Token::Kind::kPrintBegin)) {
        next();
        NodePtr print = make(NodeKind::kPrint);
        print->children.push_back(tuple_or_expression());
        if (!peek(Token::Kind::kPrintEnd))
          fail("K-CHAT-SYNTAX", fmt::format("got {}, need the end of the expression", shown()));
        next();
        block->children.push_back(std::move(print));
      } else {
        next();  // the tag's begin
        if (peek(Token::Kind::kName) && std::find(ends.begin(), ends.end(), current().text) != ends.end()) return block;
        block->children.push_back(statement());
      }
    }
  }

  NodePtr statement() {
    const std::string name = need_name();
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail("K-CHAT-SYNTAX", fmt::format("{} outside of a loop", name));
      NodePtr node = make(name == "break" ? NodeKind::kBreak : NodeKind::kContinue);
      end_tag();
      return node;
    }
    if (name == "generation") {  // marks what the assistant wrote; prints its body
      end_tag();
      NodePtr body = statements({"endgeneration"});
      next();
      end_tag();
      return body;
    }
    fail("K-CHAT-UNKNOWN",
         fmt::format("statement \"{}\" is not supported; known: if, for, set, macro, break, continue, generation, raw",
                     name.substr(0, 40)));
  }

  NodePtr if_statement() {
    const Depth depth(*this);
    NodePtr node = make(NodeKind::kIf);
    node->children.push_back(expression());
    end_tag();
    node->children.push_back(statements({"elif", "else", "endif"}));
    if (take_name("elif")) {
      node->children.push_back(if_statement());
      return node;
    }
    NodePtr otherwise;
    if (take_name("else")) {
      end_tag();
      otherwise = statements({"endif"});
    }
    next();
    end_tag();
    node->children.push_back(std::move(otherwise));
    return node;
  }

  std::vector<std::string> target_names() {
    std::vector<std::string> names;
    const bool bracket = take_operator("(");
    do {
      names.push_back(need_name());
    } while (take_operator(","));
    if (bracket) need_operator(")");
    return names;
  }

  NodePtr for_statement() {
    NodePtr node = make(NodeKind::kFor);
    node->names = target_names();
    if (!take_name("in")) fail("K-CHAT-SYNTAX", fmt::format("got {}, need \"in\"", shown()));
    node->children.push_back(or_expression());  // a condition here would swallow the loop's filter
    node->children.push_back(take_name("if") ? expression() : nullptr);
    if (peek_name("recursive")) fail("K-CHAT-UNKNOWN", "recursive loops are not supported");
    end_tag();
    ++loops_;
    node->children.push_back(statements({"else", "endfor"}));
    --loops_;
    NodePtr otherwise;
    if (take_name("else")) {
      end_tag();
      otherwise = statements({"endfor"});
    }
    next();
    end_tag();
    node->children.push_back(std::move(otherwise));
    return node;
  }

  NodePtr set_statement() {
    NodePtr node = make(NodeKind::kSet);
    node->names = target_names();
    if (node->names.size() == 1 && take_operator(".")) {
      node->kind = NodeKind::kSetMember;
      node->names.push_back(need_name());
    }
    if (take_operator("=")) {
      node->children.push_back(tuple_or_expression());
      end_tag();
      return node;
    }
    if (node->kind != NodeKind::kSet || node->names.size() != 1)
      fail("K-CHAT-SYNTAX", fmt::format("got {}, need \"=\"", shown()));
    node->kind = NodeKind::kSetBlock;
    end_tag();
    node->children.push_back(statements({"endset"}));
    next();
    end_tag();
    return node;
  }

  NodePtr macro_statement() {
    NodePtr node = make(NodeKind::kMacro, need_name());
    node->children.push_back(nullptr);  // the body, once it is read
    need_operator("(");
    while (!take_operator(")")) {
      if (!node->names.empty()) need_operator(",");
      node->names.push_back(need_name());
      node->children.push_back(take_operator("=") ? expression() : nullptr);
    }
    end_tag();
    const int loops = std::exchange(loops_, 0);
    node->children[0] = statements({"endmacro"});
    loops_ = loops;
    next();
    if (peek(Token::Kind::kName)) next();  // {% endmacro name %}
    end_tag();
    return node;
  }

  NodePtr tuple_or_expression() {
    NodePtr first = expression();
    if (!peek_operator(",")) return first;
    NodePtr tuple = make(NodeKind::kList, "tuple");
    tuple->children.push_back(std::move(first));
    while (take_operator(",")) {
      if (peek_operator(")") || peek(Token::Kind::kPrintEnd) || peek(Token::Kind::kTagEnd)) break;
      tuple->children.push_back(expression());
    }
    measure(*tuple);
    return tuple;
  }

  NodePtr expression() {
    const Depth depth(*this);
    NodePtr value = or_expression();
    while (take_name("if")) {
      NodePtr condition = or_expression();
      NodePtr otherwise = take_name("else") ? expression() : nullptr;
      value = make_with(NodeKind::kCondition, "", std::move(value), std::move(condition), std::move(otherwise));
    }
    return value;
  }
  NodePtr or_expression() {
    NodePtr left = and_expression();
    while (take_name("or")) left = make_with(NodeKind::kBinary, "or", std::move(left), and_expression());
    return left;
  }
  NodePtr and_expression() {
    NodePtr left = not_expression();
    while (take_name("and")) left = make_with(NodeKind::kBinary, "and", std::move(left), not_expression());
    return left;
  }
  NodePtr not_expression() {
    const Depth depth(*this);
    if (take_name("not")) return make_with(NodeKind::kUnary, "not", not_expression());
    return comparison();
  }
  NodePtr comparison() {
    NodePtr node = make(NodeKind::kCompare);
    node->children.push_back(binary(0));
    for (;;) {
      std::string name;
      for (const char* candidate : {"==", "!=", "<=", ">=", "<", ">"}) {
        if (name.empty() && take_operator(candidate)) name = candidate;
      }
      if (name.empty() && take_name("in")) name = "in";
      if (name.empty() && peek_name("not") && ahead(1).kind == Token::Kind::kName && ahead(1).text == "in") {
        next();
        next();
        name = "not in";
      }
      if (name.empty()) break;
      node->names.push_back(name);
      node->children.push_back(binary(0));
    }
    measure(*node);
    return node->names.empty() ? std::move(node->children[0]) : std::move(node);
  }
  /// + and -, then ~, then * / // %, then **.
  NodePtr binary(size_t level) {
    static const std::vector<std::vector<std::string_view>> kLevels = {
        {"+", "-"}, {"~"}, {"*", "/", "//", "%"}, {"**"}};
    if (level == kLevels.size()) return unary(/*with_filter=*/true);
    NodePtr left = binary(level + 1);
    for (;;) {
      std::string found;
      for (std::string_view name : kLevels[level]) {
        if (found.empty() && take_operator(name)) found = name;
      }
      if (found.empty()) return left;
      left = make_with(NodeKind::kBinary, found, std::move(left), binary(level + 1));
    }
  }
  NodePtr unary(bool with_filter) {
    const Depth depth(*this);
    NodePtr node;
    if (take_operator("-")) {
      node = make_with(NodeKind::kUnary, "-", unary(false));
    } else if (take_operator("+")) {
      node = make_with(NodeKind::kUnary, "+", unary(false));
    } else {
      node = postfix(primary());
    }
    return with_filter ? filters(std::move(node)) : std::move(node);
  }

  NodePtr primary() {
    const Token token = current();
    NodePtr node = make(NodeKind::kLiteral);
    switch (token.kind) {
      case Token::Kind::kName:
        next();
        if (token.text == "true" || token.text == "True" || token.text == "false" || token.text == "False") {
          node->value = Value::boolean(token.text == "true" || token.text == "True");
        } else if (token.text == "none" || token.text == "None") {
          node->value = Value::none();
        } else {
          node->kind = NodeKind::kName;
          node->text = token.text;
        }
        return node;
      case Token::Kind::kString: {
        std::string text;
        while (peek(Token::Kind::kString)) {
          text += current().text;
          next();
        }
        node->value = Value::string(std::move(text));
        return node;
      }
      case Token::Kind::kInt: {
        int64_t value = 0;
        const auto result = std::from_chars(token.text.data(), token.text.data() + token.text.size(), value);
        if (result.ec != std::errc())
          fail("K-CHAT-SYNTAX", fmt::format("integer {} does not fit 64 bits", token.text.substr(0, 40)));
        next();
        node->value = Value::integer(value);
        return node;
      }
      case Token::Kind::kFloat:
        next();
        node->value = Value::number(std::strtod(token.text.c_str(), nullptr));
        return node;
      default:
        break;
    }
    if (take_operator("(")) {
      if (take_operator(")")) return make(NodeKind::kList, "tuple");
      NodePtr inner = tuple_or_expression();
      need_operator(")");
      return inner;
    }
    if (take_operator("[")) {
      NodePtr list = make(NodeKind::kList);
      while (!take_operator("]")) {
        if (!list->children.empty()) need_operator(",");
        if (take_operator("]")) break;
        list->children.push_back(expression());
      }
      measure(*list);
      return list;
    }
    if (take_operator("{")) {
      NodePtr dict = make(NodeKind::kDict);
      while (!take_operator("}")) {
        if (!dict->children.empty()) need_operator(",");
        if (take_operator("}")) break;
        dict->children.push_back(expression());
        need_operator(":");
        dict->children.push_back(expression());
      }
      measure(*dict);
      return dict;
    }
    fail("K-CHAT-SYNTAX", fmt::format("got {}, need a value", shown()));
  }

  NodePtr postfix(NodePtr node) {
    for (;;) {
      if (take_operator(".")) {
        if (peek(Token::Kind::kInt)) {
          NodePtr index = primary();
          node = make_with(NodeKind::kItem, "", std::move(node), std::move(index));
        } else {
          std::string name = need_name();
          node = make_with(NodeKind::kAttribute, std::move(name), std::move(node));
        }
      } else if (take_operator("[")) {
        node = subscript(std::move(node));
      } else if (peek_operator("(")) {
        NodePtr call = make_with(NodeKind::kCall, "", std::move(node));
        arguments(*call);
        node = std::move(call);
      } else {
        return node;
      }
    }
  }

  NodePtr subscript(NodePtr object) {
    NodePtr parts[3];
    size_t count = 0;
    bool is_slice = false;
    for (;;) {
      if (!peek_operator(":") && !peek_operator("]")) parts[count] = expression();
      if (!take_operator(":")) break;
      is_slice = true;
      if (++count == 3) fail("K-CHAT-SYNTAX", "a slice has at most three parts");
    }
    need_operator("]");
    if (is_slice)
      return make_with(NodeKind::kSlice, "", std::move(object), std::move(parts[0]), std::move(parts[1]),
                       std::move(parts[2]));
    if (parts[0] == nullptr) fail("K-CHAT-SYNTAX", "[] without an index");
    return make_with(NodeKind::kItem, "", std::move(object), std::move(parts[0]));
  }

  /// "(" ... ")" onto the node's children and named.
  void arguments(Node& node) {
    need_operator("(");
    bool first = true;
    while (!take_operator(")")) {
      if (!first) need_operator(",");
      first = false;
      if (take_operator(")")) break;
      if (peek(Token::Kind::kName) && ahead(1).kind == Token::Kind::kOperator && ahead(1).text == "=") {
        std::string name = need_name();
        next();
        node.named.emplace_back(std::move(name), expression());
      } else {
        node.children.push_back(expression());
      }
    }
    measure(node);
  }

  NodePtr filters(NodePtr node) {
    for (;;) {
      if (take_operator("|")) {
        std::string name = need_name();
        NodePtr filter = make_with(NodeKind::kFilter, std::move(name), std::move(node));
        if (peek_operator("(")) arguments(*filter);
        node = std::move(filter);
      } else if (take_name("is")) {
        const bool negated = take_name("not");
        std::string name = need_name();
        NodePtr test = make_with(NodeKind::kTest, std::move(name), std::move(node));
        if (peek_operator("(")) {
          arguments(*test);
        } else if ((peek(Token::Kind::kName) && !peek_name("and") && !peek_name("or") && !peek_name("else") &&
                    !peek_name("is") && !peek_name("if") && !peek_name("not") && !peek_name("in")) ||
                   peek(Token::Kind::kString) || peek(Token::Kind::kInt) || peek(Token::Kind::kFloat) ||
                   peek_operator("[") || peek_operator("{")) {
          test->children.push_back(postfix(primary()));
        }
        node = negated ? make_with(NodeKind::kUnary, "not", std::move(test)) : std::move(test);
      } else if (peek_operator("(")) {
        NodePtr call = make_with(NodeKind::kCall, "", std::move(node));
        arguments(*call);
        node = std::move(call);
      } else {
        return node;
      }
    }
  }

  std::vector<Token> tokens_;
  std::string_view where_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

std::unique_ptr<Node> parse_template(std::string_view source, std::string_view where) {
  if (source.size() > kMaxTemplateBytes) {
    throw DataError(fmt::format("{}: template of {} bytes, need at most {}", where, source.size(), kMaxTemplateBytes),
                    "K-CHAT-LIMIT");
  }
  if (const size_t valid = utf8_valid_prefix(source); valid != source.size()) {
    throw DataError(fmt::format("{}: template is not UTF-8 at byte {}", where, valid), "K-CHAT-SYNTAX");
  }
  return Parser(tokenize_template(source, where), where).run();
}

}  // namespace aqlm_exp::text::jinja
