#include "framework/text/unicode.h"

#include <gtest/gtest.h>

#include <string>

#include "framework/base/rng.h"
#include "framework/base/utf8.h"
#include "framework/text/byte_level.h"

namespace aqlm_exp::text {
namespace {

TEST(NormalForm, NfcByStretchesEqualsNfcOfTheDecomposedWhole) {
  // The decomposed text goes through in one stretch; letters, marks of many classes, Hangul parts, singletons.
  const char32_t pool[] = {'a',    'e',    'o',     ' ',    0xE9,   0xC5,   0x300,  0x301,  0x308, 0x323,
                           0x327,  0x345,  0x1100,  0x1161, 0x11A8, 0xAC00, 0x212B, 0x2126, 0x9C7, 0x9BE,
                           0x2019, 0x4E00, 0x1F600, 0x958,  0x3099, 0x304B, 0x1E9B, 0xFB01};
  Rng rng(17);
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    const uint64_t size = 1 + rng.below(12);
    for (uint64_t i = 0; i < size; ++i) utf8_append(text, pool[rng.below(std::size(pool))]);
    const std::string nfc = to_normal_form(text, NormalForm::kNfc);
    ASSERT_EQ(nfc, to_normal_form(to_normal_form(text, NormalForm::kNfd), NormalForm::kNfc)) << text;
    ASSERT_EQ(nfc, to_normal_form(nfc, NormalForm::kNfc)) << text;
  }
}

TEST(NormalForm, KnowsTheTextbookCases) {
  EXPECT_EQ(to_normal_form("e\xCC\x81\0x", NormalForm::kNfc), "\xC3\xA9");
  EXPECT_EQ(to_normal_form(std::string("e\xCC\x81\0x", 5), NormalForm::kNfc), std::string("\xC3\xA9\0x", 4));
  EXPECT_EQ(to_normal_form("\xE2\x84\xAB", NormalForm::kNfc), "\xC3\x85");
  EXPECT_EQ(to_normal_form("\xEF\xAC\x81", NormalForm::kNfc), "\xEF\xAC\x81");
  EXPECT_EQ(to_normal_form("\xEF\xAC\x81", NormalForm::kNfkc), "fi");
  EXPECT_EQ(to_normal_form("\xC3\xA9", NormalForm::kNfkd), "e\xCC\x81");
}

TEST(CodePoints, FallIntoTheirClasses) {
  EXPECT_TRUE(is_space(0x3000) && is_space(0x85) && is_space('\t'));
  EXPECT_FALSE(is_space(0x200B) || is_space(0x180E) || is_space('x'));
  EXPECT_TRUE(is_word('_') && is_word(0x301) && is_word(0x200D) && is_word(0x4E00) && is_word('7') && is_word(0x24B6));
  EXPECT_FALSE(is_word('-') || is_word(' ') || is_word(0xBD));
  EXPECT_TRUE(is_punctuation('$') && is_punctuation(0x3001) && !is_punctuation(0x20AC));
  EXPECT_TRUE(is_numeric(0xBD) && is_numeric(0x2167) && !is_numeric('x'));
  EXPECT_EQ(to_lower("\xC3\x9C\xC4\xB0X"), "\xC3\xBCi\xCC\x87x");
}

TEST(ByteLevelAlphabet, IsReversible) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string mapped;
  append_byte_level(mapped, all);
  EXPECT_EQ(utf8_valid_prefix(mapped), mapped.size());
  EXPECT_EQ(byte_level_bytes(mapped), all);
  EXPECT_EQ(byte_level_bytes("\xE4\xBD\xA0"), std::nullopt);
  EXPECT_EQ(byte_level_forms()[' '], "\xC4\xA0");
}

}  // namespace
}  // namespace aqlm_exp::text
