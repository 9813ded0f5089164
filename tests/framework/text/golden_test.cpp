// Small tokenizers of every kind against what Hugging Face's library gives for 92 hard strings each:
// tests/golden/make_tokenizers.py made both.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/strict_json.h"
#include "framework/base/utf8.h"
#include "framework/text/tokenizer.h"

namespace aqlm_exp::text {
namespace {

const std::filesystem::path kFolder = AQLM_EXP_SOURCE_DIR "/tests/golden/tokenizers";

class GoldenTokenizer : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenTokenizer, AgreesOnEveryString) {
  const Tokenizer tokenizer = Tokenizer::load(kFolder / (std::string(GetParam()) + ".tokenizer.json"));
  const auto strings = read_strict_json(kFolder / "strings.json", "X");
  const auto cases = read_strict_json(kFolder / (std::string(GetParam()) + ".golden.json"), "X");
  ASSERT_GE(strings.size(), 60u);
  ASSERT_EQ(cases.size(), strings.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto text = strings[i].get<std::string>();
    const auto ids = cases[i][0].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << i << ": " << strings[i];
    EXPECT_EQ(tokenizer.encode(text, {.add_special_tokens = true}), cases[i][1].get<std::vector<int32_t>>())
        << i << ": " << strings[i];
    EXPECT_EQ(tokenizer.decode(ids), cases[i][2].get<std::string>()) << i << ": " << strings[i];
    EXPECT_EQ(tokenizer.decode(ids, {.skip_special_tokens = true}), cases[i][3].get<std::string>())
        << i << ": " << strings[i];
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GoldenTokenizer,
                         ::testing::Values("gpt2", "old_merges", "qwen2", "llama3", "o200k", "deepseek", "behaviors",
                                           "whitespace", "added_flags", "llama2", "mistral", "gemma", "without_bytes",
                                           "suffixed", "unigram", "unigram_bytes"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST(TokenBytes, JoinToTheTextOfAByteLevelTokenizer) {
  for (const char* kind : {"gpt2", "qwen2", "llama3", "gemma"}) {
    const Tokenizer tokenizer = Tokenizer::load(kFolder / (std::string(kind) + ".tokenizer.json"));
    for (const auto& entry : read_strict_json(kFolder / "strings.json", "X")) {
      const std::vector<int32_t> ids = tokenizer.encode(entry.get<std::string>());
      std::string joined;
      for (int32_t id : ids) joined += tokenizer.token_bytes(id);
      EXPECT_EQ(utf8_replace_invalid(joined), tokenizer.decode(ids)) << kind << ": " << entry;
    }
  }
}

}  // namespace
}  // namespace aqlm_exp::text
