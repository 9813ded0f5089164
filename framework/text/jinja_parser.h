// Chat templates as a tree. The language is the part of Jinja2 that published chat templates use, as Hugging Face's
// library sets it up (trim_blocks, lstrip_blocks, loop controls, `generation` blocks); anything else is refused by
// name.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "framework/text/jinja_value.h"

namespace aqlm_exp::text::jinja {

enum class NodeKind {
  // Expressions. `text` and `children` as noted.
  kLiteral,    // value
  kName,       // text
  kList,       // children; text "tuple" if it is one
  kDict,       // children: key, value, key, value, ...
  kAttribute,  // children[0] . text
  kItem,       // children[0] [ children[1] ]
  kSlice,      // children[0] [ children[1] : children[2] : children[3] ], absent parts null
  kCall,       // children[0] ( children[1..], named )
  kFilter,     // children[0] | text ( children[1..], named )
  kTest,       // children[0] is text ( children[1..] )
  kUnary,      // text: not - +
  kBinary,     // text: and or ~ + - * / // % **
  kCompare,    // children[0], then operators in `names` with children[1..]
  kCondition,  // children: if-true, condition, if-false (may be null)
  // Statements.
  kBlock,      // children in order
  kText,       // text
  kPrint,      // children[0]
  kIf,         // children: condition, then, else (may be null)
  kFor,        // names; children: iterable, filter (may be null), body, else (may be null)
  kSet,        // names; children[0] a value
  kSetMember,  // names[0] . names[1]; children[0] a value
  kSetBlock,   // names[0]; children[0] a block
  kMacro,      // text; names of parameters; children: body, then defaults (null for none)
  kBreak,
  kContinue,
};

struct Node {
  NodeKind kind;
  size_t line = 0;
  int height = 1;  ///< of the expression below it: bounds recursion
  std::string text;
  Value value;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<Node>> children;
  std::vector<std::pair<std::string, std::unique_ptr<Node>>> named;
};

inline constexpr size_t kMaxTemplateBytes = 1 << 20;
inline constexpr int kMaxTemplateDepth = 100;
inline constexpr int kMaxExpressionHeight = 500;

/// @throws DataError: K-CHAT-SYNTAX, K-CHAT-UNKNOWN (a statement outside the subset), K-CHAT-LIMIT (size, nesting)
std::unique_ptr<Node> parse_template(std::string_view source, std::string_view where);

}  // namespace aqlm_exp::text::jinja
