#include "framework/generate/generation_config.h"

#include <gtest/gtest.h>

#include <fstream>

#include "framework/base/error.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::generate {
namespace {

std::filesystem::path folder_with(const std::string& name, const std::string& text) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / ("stop_tokens_" + std::to_string(::getpid()));
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  std::ofstream(folder / name) << text;
  return folder;
}

TEST(StopTokens, ComeFromTheEmbeddedModelsFiles) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(test::embedded_model());
  EXPECT_EQ(stop_tokens(test::embedded_model(), tokenizer), std::vector<int32_t>{0});
}

TEST(StopTokens, MayBeAListOrOneOrNone) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(test::embedded_model());
  EXPECT_EQ(stop_tokens(folder_with("generation_config.json", R"({"eos_token_id": [7, 3, 7]})"), tokenizer),
            (std::vector<int32_t>{3, 7}));
  EXPECT_EQ(stop_tokens(folder_with("config.json", R"({"eos_token_id": 5})"), tokenizer), std::vector<int32_t>{5});
  EXPECT_EQ(stop_tokens(folder_with("tokenizer_config.json", R"({"eos_token": "<|im_end|>"})"), tokenizer),
            std::vector<int32_t>{2});
  EXPECT_TRUE(stop_tokens(folder_with("other.json", "{}"), tokenizer).empty());
  EXPECT_THROW(stop_tokens(folder_with("generation_config.json", R"({"eos_token_id": ["a"]})"), tokenizer), DataError);
  EXPECT_THROW(stop_tokens(folder_with("generation_config.json", R"({"eos_token_id": -2})"), tokenizer), DataError);
}

}  // namespace
}  // namespace aqlm_exp::generate
