// What an unquoted word means: in a YAML file (YAML 1.2 core schema, with guard rails) and in an override.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "framework/config/node.h"

namespace aqlm_exp::config {

/// What a plain scalar is. Exactly one of `value` and `fault` is set.
struct ScalarReading {
  enum class Fault { kNone, kAmbiguous, kOverflow };
  std::optional<Node> value;
  Fault fault = Fault::kNone;
  std::string message;  ///< what is wrong: "'on' is a switch in YAML 1.1 and a word in YAML 1.2"
  std::string help;     ///< both spellings
};

/// A plain (unquoted) YAML scalar: `null Null NULL ~` and empty; `true True false False`; decimal, 0x and 0o
/// integers; floats incl. `.5 1. 1e-3 .inf .nan`; anything else is a string. `yes no on off`, sexagesimal numbers and
/// numbers with a leading zero are ambiguous; numbers that do not fit are overflows.
ScalarReading read_yaml_scalar(std::string_view text, const Mark& mark);

/// A bare override element: `null`, `true|false` in any case, integers (`_` between digits), floats (incl. `inf`,
/// `nan`), else a string. `text` is trimmed and without escapes.
ScalarReading read_override_scalar(std::string_view text, const Mark& mark);

/// True for text that is UTF-8 without surrogates, overlong forms or anything above U+10FFFF. Otherwise `offset` is the
/// first bad byte.
bool is_utf8(std::string_view text, size_t& offset);

}  // namespace aqlm_exp::config
