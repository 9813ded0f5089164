// Unicode questions that tokenizers ask. Tables: utf8proc.
#pragma once

#include <string>
#include <string_view>

namespace aqlm_exp::text {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// The normal form of valid UTF-8.
std::string to_normal_form(std::string_view text, NormalForm form);

/// Property White_Space.
bool is_space(char32_t c);
/// A word character by UTS 18: Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control.
bool is_word(char32_t c);
/// General categories N*.
bool is_numeric(char32_t c);
/// General categories P*, and ASCII symbols.
bool is_punctuation(char32_t c);
/// General categories M*.
bool is_mark(char32_t c);
/// Lower case of each code point by the Unicode default mapping.
std::string to_lower(std::string_view text);
/// Upper case of each code point by the Unicode default mapping; U+00DF becomes SS.
std::string to_upper(std::string_view text);
/// Length in bytes of the grapheme clusters (UAX #29: what a reader takes for one character) that no further text can
/// lengthen: all of them but the last, and that one too if it is a control character.
size_t whole_characters(std::string_view text);
/// Columns a terminal gives a code point: 0, 1 or 2.
int column_width(char32_t c);

}  // namespace aqlm_exp::text
