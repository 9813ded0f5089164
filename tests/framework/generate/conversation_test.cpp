#include "framework/generate/conversation.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::generate {
namespace {

const text::Tokenizer& tokenizer() {
  static const text::Tokenizer loaded = text::Tokenizer::load(test::embedded_model());
  return loaded;
}

/// A folder whose tokenizer has ChatML's template.
std::filesystem::path chatml_folder() {
  const auto folder = std::filesystem::path(testing::TempDir()) / ("chatml_" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  nlohmann::json config = {
      {"eos_token", "<|im_end|>"},
      {"chat_template",
       "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
       "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"}};
  std::ofstream(folder / "tokenizer_config.json") << config.dump();
  return folder;
}

TEST(Conversation, GoesThroughTheTemplate) {
  Conversation conversation(chatml_folder(), tokenizer());
  ASSERT_TRUE(conversation.has_template());
  conversation.set_system("Be brief.");
  conversation.add_user("Hello");
  conversation.add_assistant("Hi!");
  conversation.add_user("Bye");
  EXPECT_EQ(conversation.prompt_text(),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
            "Hi!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n");
  const auto ids = conversation.prompt(1000);
  EXPECT_EQ(ids.front(), 1);  // <|im_start|> as one token
}

TEST(Conversation, WithoutATemplateTheTextIsContinued) {
  Conversation conversation(test::embedded_model(), tokenizer());
  EXPECT_FALSE(conversation.has_template());
  conversation.add_user("Once upon a time");
  conversation.add_assistant(" there was a king.");
  conversation.add_user("He had");
  EXPECT_EQ(conversation.prompt_text(), "Once upon a time there was a king.\nHe had");
  conversation.pop();
  conversation.add_user(" He had");
  EXPECT_EQ(conversation.prompt_text(), "Once upon a time there was a king. He had");
  conversation.reset();
  EXPECT_EQ(conversation.prompt_text(), "");
  EXPECT_THROW(conversation.prompt(10), DataError);
}

TEST(Conversation, RawLeavesTheTemplateAside) {
  EXPECT_FALSE(Conversation(chatml_folder(), tokenizer(), /*raw=*/true).has_template());
}

TEST(Conversation, DropsTheOldestExchangesWhenItGrowsTooLong) {
  Conversation conversation(chatml_folder(), tokenizer());
  conversation.set_system("Be brief.");
  for (int i = 0; i < 6; ++i) {
    conversation.add_user("Tell me about number " + std::to_string(i));
    conversation.add_assistant("It is " + std::to_string(i));
  }
  conversation.add_user("And now?");
  int64_t dropped = 0;
  const auto ids = conversation.prompt(60, &dropped);
  EXPECT_LE(ids.size(), 60u);
  EXPECT_GT(dropped, 0);
  EXPECT_EQ(dropped % 2, 0);
  EXPECT_EQ(conversation.messages().front().role, "user");
  EXPECT_NE(conversation.prompt_text().find("Be brief."), std::string::npos);
  EXPECT_NE(conversation.prompt_text().find("And now?"), std::string::npos);
  EXPECT_THROW(conversation.prompt(5), DataError);
}

TEST(Conversation, ALongTextLosesItsBeginning) {
  Conversation conversation(test::embedded_model(), tokenizer());
  std::string text;
  for (int i = 0; i < 100; ++i) text += " word";
  conversation.add_user(text + " end");
  const auto whole = conversation.prompt(1000), part = conversation.prompt(10);
  ASSERT_EQ(part.size(), 10u);
  EXPECT_EQ(part, std::vector<int32_t>(whole.end() - 10, whole.end()));
}

TEST(Conversation, IsSavedAsMessages) {
  Conversation conversation(chatml_folder(), tokenizer());
  conversation.add_user("Hello");
  EXPECT_EQ(conversation.to_json()["messages"][0]["role"], "user");
  EXPECT_EQ(conversation.to_json()["messages"][0]["content"], "Hello");
}

}  // namespace
}  // namespace aqlm_exp::generate
