// Text with references, taken apart: "p_${a.b}_${oc.env:NAME,3}" → literal, reference, literal, call.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace aqlm_exp::config {

struct TextPiece {
  enum class Kind { kLiteral, kReference, kCall };
  Kind kind = Kind::kLiteral;
  std::string text;                           ///< of a literal; resolver name of a call; the reference as written
  int num_dots = 0;                           ///< of a reference: 0 absolute, 1 same map, each further one a level up
  std::vector<std::vector<TextPiece>> parts;  ///< steps of a reference; arguments of a call
  size_t offset = 0;                          ///< byte of the text where the piece starts
};

struct TextFault {
  size_t offset = 0;
  std::string message;
};

/// Takes `text` apart. "\${" is a literal "${", "\\${n}" a backslash and a reference; other backslashes are themselves.
std::optional<std::vector<TextPiece>> parse_text(std::string_view text, TextFault& fault);

/// True when parse_text would find a reference or an escaped one.
inline bool has_references(std::string_view text) { return text.find("${") != std::string_view::npos; }

}  // namespace aqlm_exp::config
