#include "framework/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "framework/base/error.h"
#include "framework/base/utf8.h"

namespace aqlm_exp::text {
namespace {

// Below U+0300 every code point is in NFC, is a starter, and never joins the code point before it.
constexpr char32_t kFirstComposing = 0x300;

void append_form(std::string& out, std::string_view text, utf8proc_option_t options) {
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result, options);
  if (size < 0) throw DataError(std::string("Unicode normalisation: ") + utf8proc_errmsg(size), "K-TEXT");
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
}

utf8proc_category_t category(char32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }

bool in(char32_t c, char32_t first, char32_t last) { return c >= first && c <= last; }

}  // namespace

std::string to_normal_form(std::string_view text, NormalForm form) {
  const bool ascii = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) return std::string(text);
  std::string out;
  out.reserve(text.size());
  switch (form) {
    case NormalForm::kNfd:
      append_form(out, text, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
      return out;
    case NormalForm::kNfkc:
      append_form(out, text, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE));
      return out;
    case NormalForm::kNfkd:
      append_form(out, text, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE));
      return out;
    case NormalForm::kNfc:
      break;
  }
  // NFC: only stretches of code points from U+0300 on, each with the one before it, can change.
  size_t copied = 0;    // text before it is in `out`
  size_t previous = 0;  // start of the code point before `offset`
  size_t offset = 0;
  while (offset < text.size()) {
    const CodePoint c = utf8_decode(text, offset);
    if (c.value < kFirstComposing) {
      previous = offset;
      offset += c.size_bytes;
      continue;
    }
    const size_t begin = previous;
    while (offset < text.size()) {
      const CodePoint next = utf8_decode(text, offset);
      if (next.value < kFirstComposing) break;
      offset += next.size_bytes;
    }
    out.append(text.substr(copied, begin - copied));
    append_form(out, text.substr(begin, offset - begin),
                static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    copied = offset;
    previous = offset;
  }
  out.append(text.substr(copied));
  return out;
}

bool is_space(char32_t c) {
  return in(c, 0x09, 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || in(c, 0x2000, 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_word(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:  // join controls, and the symbols that are Other_Alphabetic
      return c == 0x200C || c == 0x200D || in(c, 0x24B6, 0x24E9) || in(c, 0x1F130, 0x1F149) ||
             in(c, 0x1F150, 0x1F169) || in(c, 0x1F170, 0x1F189);
  }
}

bool is_numeric(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return in(c, '!', '/') || in(c, ':', '@') || in(c, '[', '`') || in(c, '{', '~');
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO;
}

bool is_mark(char32_t c) {
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ME;
}

std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint c = utf8_decode(text, offset);
    if (c.value == 0x130) {
      out += "i\xCC\x87";  // the one code point whose lower case has two
    } else {
      utf8_append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))));
    }
    offset += c.size_bytes;
  }
  return out;
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint c = utf8_decode(text, offset);
    if (c.value == 0xDF) {
      out += "SS";
    } else {
      utf8_append(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c.value))));
    }
    offset += c.size_bytes;
  }
  return out;
}

size_t whole_characters(std::string_view text) {
  size_t whole = 0;
  utf8proc_int32_t state = 0;
  char32_t last = 0;
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint point = utf8_decode(text, offset);
    if (offset > 0 && utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(last),
                                                       static_cast<utf8proc_int32_t>(point.value), &state)) {
      whole = offset;
    }
    last = point.value;
    offset += point.size_bytes;
  }
  if (text.empty()) return 0;
  // A break always follows a control character (GB4), except inside CR LF.
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(last));
  return category == UTF8PROC_CATEGORY_CC && last != '\r' ? text.size() : whole;
}

int column_width(char32_t c) { return std::max(0, utf8proc_charwidth(static_cast<utf8proc_int32_t>(c))); }

}  // namespace aqlm_exp::text
