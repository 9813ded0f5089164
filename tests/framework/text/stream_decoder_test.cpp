#include "framework/text/stream_decoder.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "framework/base/utf8.h"
#include "framework/text/unicode.h"

namespace aqlm_exp::text {
namespace {

const Tokenizer& byte_level() {
  static const Tokenizer loaded = Tokenizer::load(std::string(AQLM_EXP_SOURCE_DIR) + "/models/qwen2-5m");
  return loaded;
}

const char* const kTexts[] = {
    "Plain words, one after another.",
    "量化后的模型可以说中文吗？当然可以，一个字也不会断开。",
    "هل يستطيع النموذج أن يتكلم العربية؟ نعم، بِالتَّشْكِيلِ أيضًا.",
    "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466 \U0001F44D\U0001F3FD "
    "\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7 \u2764\uFE0F\u200D\U0001F525",
    "e\u0301le\u0300ve n\u0303",
    "नमस्ते दुनिया, 한국어, ภาษาไทย",
    "line\nbreak\r\nand\ttab",
    "",
};

/// A break between characters, found anew: everything up to there is a whole number of them.
bool ends_whole(const std::string& all, size_t offset) {
  // A sentinel behind the part shows whether the rest would have belonged to its last character.
  if (offset == 0 || offset == all.size()) return true;
  const std::string next = all.substr(offset, utf8_decode(all, offset).size_bytes);
  return whole_characters(all.substr(0, offset) + next) == offset ||
         (all[offset - 1] == '\n' && whole_characters(all.substr(0, offset)) == offset);
}

TEST(StreamDecoder, PiecesAreWholeCharactersAndMakeUpTheText) {
  for (const std::string raw : kTexts) {
    StreamDecoder decoder(byte_level());
    std::string shown;
    const std::vector<int32_t> ids = byte_level().encode(raw);
    const std::string text = byte_level().decode(ids);  // in NFC, the tokenizer's normal form
    for (const int32_t id : ids) {
      const std::string piece = decoder.add(id);
      EXPECT_EQ(utf8_valid_prefix(piece), piece.size());
      EXPECT_EQ(piece.find("\uFFFD"), std::string::npos);
      shown += piece;
      ASSERT_EQ(text.compare(0, shown.size(), shown), 0) << text;
      EXPECT_TRUE(ends_whole(text, shown.size())) << text << " after " << shown;
    }
    shown += decoder.finish();
    EXPECT_EQ(shown, text);
  }
}

TEST(StreamDecoder, TheTokensReallyDoSplitCharacters) {
  // Otherwise the test above would prove nothing.
  size_t split = 0;
  for (const std::string text : kTexts) {
    for (const int32_t id : byte_level().encode(text)) {
      const std::string bytes = byte_level().token_bytes(id);
      split += utf8_valid_prefix(bytes) != bytes.size();
    }
  }
  EXPECT_GT(split, 50u);
}

TEST(StreamDecoder, ShowsACharacterAsSoonAsItsNextOneBegins) {
  StreamDecoder decoder(byte_level());
  const auto ids = byte_level().encode("ab cd\n");
  std::string shown;
  for (const int32_t id : ids) shown += decoder.add(id);
  EXPECT_EQ(shown, "ab cd\n");  // nothing follows a line feed within its character
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, BytesThatFormNoTextBecomeTheReplacementCharacter) {
  // Tokens of single bytes: an unfinished character before an ASCII one, and one at the end.
  const auto byte_token = [](unsigned char byte) {
    for (int32_t id = 0; id <= byte_level().max_id(); ++id) {
      if (byte_level().token_bytes(id) == std::string(1, static_cast<char>(byte))) return id;
    }
    ADD_FAILURE() << "no token for byte " << int{byte};
    return 0;
  };
  const std::vector<int32_t> ids = {byte_token(0xE4), byte_token(0xB8), byte_token('a'),
                                    byte_token(0xFF), byte_token(0xF0), byte_token(0x9F)};
  StreamDecoder decoder(byte_level());
  std::string shown;
  for (const int32_t id : ids) shown += decoder.add(id);
  EXPECT_EQ(shown, "\uFFFDa");  // 0xFF is no text at all, but a mark could still follow it
  shown += decoder.finish();
  EXPECT_EQ(shown, "\uFFFDa\uFFFD\uFFFD");
  EXPECT_EQ(shown, byte_level().decode(ids));
}

TEST(StreamDecoder, AnyTokensGiveWhatDecodeGives) {
  Rng rng(11);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 30; ++i) {
      ids.push_back(
          static_cast<int32_t>(rng.below(rng.below(2) == 0 ? 300 : static_cast<uint64_t>(byte_level().max_id() + 1))));
    }
    StreamDecoder decoder(byte_level());
    std::string shown;
    for (const int32_t id : ids) shown += decoder.add(id);
    shown += decoder.finish();
    EXPECT_EQ(shown, byte_level().decode(ids));
  }
}

TEST(StreamDecoder, LeavesSpecialTokensOutIfAsked) {
  const auto ids = byte_level().encode("a<|im_end|>b");
  StreamDecoder with(byte_level()), without(byte_level(), {.skip_special_tokens = true});
  std::string shown_with, shown_without;
  for (const int32_t id : ids) {
    shown_with += with.add(id);
    shown_without += without.add(id);
  }
  EXPECT_EQ(shown_with + with.finish(), "a<|im_end|>b");
  EXPECT_EQ(shown_without + without.finish(), "ab");
}

TEST(StreamDecoder, ACharacterWithoutEndIsShownAllTheSame) {
  StreamDecoder decoder(byte_level());
  std::string text = "q", shown;  // there is no q with acute: NFC leaves it alone
  for (int i = 0; i < 1000; ++i) text += "\u0301";
  for (const int32_t id : byte_level().encode(text)) shown += decoder.add(id);
  EXPECT_GT(shown.size(), 500u);
  EXPECT_TRUE(shown + decoder.finish() == text);
}

TEST(WholeCharacters, KnowClustersOfSeveralCodePoints) {
  EXPECT_EQ(whole_characters(""), 0u);
  EXPECT_EQ(whole_characters("a"), 0u);
  EXPECT_EQ(whole_characters("ab"), 1u);
  EXPECT_EQ(whole_characters("a\n"), 2u);
  EXPECT_EQ(whole_characters("a\r"), 1u);
  EXPECT_EQ(whole_characters("e\u0301"), 0u);
  EXPECT_EQ(whole_characters("e\u0301x"), 3u);
  EXPECT_EQ(whole_characters("\U0001F1E9\U0001F1EA"), 0u);
  EXPECT_EQ(whole_characters("\U0001F1E9\U0001F1EA\U0001F1EB"), 8u);
  EXPECT_EQ(column_width(U'a'), 1);
  EXPECT_EQ(column_width(U'字'), 2);
  EXPECT_EQ(column_width(U'\u0301'), 0);
}

}  // namespace
}  // namespace aqlm_exp::text
