// Text from outside on its way into a file that must be valid UTF-8 without NUL.
#pragma once

#include <string>
#include <string_view>

namespace aqlm_exp::results {

/// Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF) without NUL.
bool is_clean_text(std::string_view text);
/// The text with each ill-formed byte and each NUL replaced by U+FFFD.
std::string clean_text(std::string_view text);
/// Not empty and only [a-z0-9_].
bool is_plain_name(std::string_view name);

}  // namespace aqlm_exp::results
