// GPT-2's reversible map between bytes and printable code points, in which byte-level tokens are written.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace aqlm_exp::text {

/// The UTF-8 form (one or two bytes) of the code point that stands for each byte.
const std::array<std::string, 256>& byte_level_forms();
/// Appends each byte's code point.
void append_byte_level(std::string& out, std::string_view bytes);
/// The bytes that a token stands for; nullopt if it holds a code point that stands for no byte.
std::optional<std::string> byte_level_bytes(std::string_view token);

}  // namespace aqlm_exp::text
