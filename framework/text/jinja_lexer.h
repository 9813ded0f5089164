// Chat templates as tokens, white space around tags already removed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::text::jinja {

struct Token {
  enum class Kind { kText, kPrintBegin, kPrintEnd, kTagBegin, kTagEnd, kName, kString, kInt, kFloat, kOperator, kEnd };
  Kind kind;
  std::string text;  ///< strings: their value
  size_t line;
};

/// Cuts a template into tokens. A newline at the very end is dropped, CR LF becomes LF, as Jinja2 does.
/// @throws DataError (K-CHAT-SYNTAX)
std::vector<Token> tokenize_template(std::string_view source, std::string_view where);

}  // namespace aqlm_exp::text::jinja
