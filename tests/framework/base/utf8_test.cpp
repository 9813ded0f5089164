#include "framework/base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace aqlm_exp {
namespace {

TEST(Utf8, EveryCodePointSurvivesARoundTrip) {
  for (char32_t value = 0; value <= 0x10FFFF; ++value) {
    if (value >= 0xD800 && value <= 0xDFFF) continue;
    std::string text;
    utf8_append(text, value);
    ASSERT_EQ(utf8_valid_prefix(text), text.size()) << static_cast<uint32_t>(value);
    const CodePoint back = utf8_decode(text, 0);
    ASSERT_EQ(back.value, value);
    ASSERT_EQ(back.size_bytes, text.size());
  }
}

TEST(Utf8, IllFormedSequencesEndTheValidPrefix) {
  const std::string bad[] = {"\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x80\x80",
                             "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                             "\xFF",         "\xE2\x82",         "\xF0\x9F\x98"};
  for (const std::string& sequence : bad) EXPECT_EQ(utf8_valid_prefix("ab" + sequence), 2u);
}

TEST(Utf8, ReplacementCountsMaximalSubparts) {
  // Unicode 15, table 3-8: one U+FFFD per maximal subpart.
  EXPECT_EQ(utf8_replace_invalid("\xC3"), "\xEF\xBF\xBD");
  EXPECT_EQ(utf8_replace_invalid("a\xF0\x9F\x98z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_replace_invalid("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(utf8_replace_invalid("caf\xC3\xA9"), "caf\xC3\xA9");
}

}  // namespace
}  // namespace aqlm_exp
