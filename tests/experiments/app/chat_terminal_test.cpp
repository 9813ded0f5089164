// The real program in a real (pseudo) terminal.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/experiments/app/pseudo_terminal.h"
#include "tests/experiments/app/reciting_model.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::app {
namespace {

constexpr const char* kText =
    "量化后的模型用中文回答问题，一个字也不会断开。 هل يستطيع النموذج أن يتكلم العربية؟ نعم، بكل سرور. "
    "\U0001F468\u200D\U0001F469\u200D\U0001F467\u200D\U0001F466 \U0001F44D\U0001F3FD "
    "\U0001F1E9\U0001F1EA\U0001F1EB\U0001F1F7 "
    "\u2764\uFE0F\u200D\U0001F525 e\u0301le\u0300ve 한국어 end";

TEST(ChatTerminal, ChineseArabicAndEmojiComeWholeThroughTwentyColumns) {
  const TempDir folder;
  write_reciting_model(folder.path() / "reciter", '!', kText);
  PseudoTerminal terminal({AQLM_EXP_DRIVER, "chat", (folder.path() / "reciter").string(), "--greedy", "--device", "cpu",
                           "--max-new-tokens", "400"},
                          20, {{"LC_ALL", ""}, {"LANG", ""}});  // no locale set, as in a container
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.output;
  terminal.type("go!\n");
  ASSERT_TRUE(terminal.wait_for("end\r\n")) << terminal.output;
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.output;
  terminal.type("exit\n");
  EXPECT_EQ(terminal.finish(), 0);
  Screen screen(20);
  screen.write(terminal.output);
  EXPECT_EQ(screen.broken, 0);
  EXPECT_LE(screen.widest(), 20);
  EXPECT_EQ(terminal.output.find("\uFFFD"), std::string::npos);
  EXPECT_NE(screen.text().find(kText), std::string::npos) << screen.text();
}

TEST(ChatTerminal, WideCharactersCanBeTypedAndTakenBack) {
  const TempDir folder;
  write_reciting_model(folder.path() / "reciter", '!', "said end");
  PseudoTerminal terminal(
      {AQLM_EXP_DRIVER, "chat", (folder.path() / "reciter").string(), "--greedy", "--device", "cpu"}, 40,
      {{"LC_ALL", "C.UTF-8"}});
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type("/save ");
  const std::string file = (folder.path() / "talk.json").string();
  terminal.type("x\x7F" + file + "\n");  // a letter and backspace
  ASSERT_TRUE(terminal.wait_for("written to")) << terminal.output;
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type("错\x7F对!\n");
  ASSERT_TRUE(terminal.wait_for("said end\r\n")) << terminal.output;
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type("/save " + file + "\n");
  ASSERT_TRUE(terminal.wait_for("written to")) << terminal.output;
  ASSERT_TRUE(terminal.wait_for("> "));  // Ctrl-D is for the line editor, not for the terminal's own
  terminal.type("\x04");                 // Ctrl-D
  EXPECT_EQ(terminal.finish(), 0);
  std::ifstream in(file);
  std::stringstream saved;
  saved << in.rdbuf();
  const auto json = nlohmann::json::parse(saved.str());
  EXPECT_EQ(json["messages"][0]["content"], "对!");
  EXPECT_EQ(json["messages"][1]["content"], "said end");
}

TEST(ChatTerminal, CtrlCStopsTheAnswerAndNotTheProgram) {
  PseudoTerminal terminal({AQLM_EXP_DRIVER, "chat", std::string(AQLM_EXP_SOURCE_DIR) + "/models/qwen2-5m", "--device",
                           "cpu", "--max-new-tokens", "1900", "--seed", "1", "--temperature", "1.2"},
                          80);
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.output;
  terminal.type("Once upon a time\n");
  ASSERT_TRUE(terminal.wait_for(" the ")) << terminal.output;  // the answer is under way
  terminal.type("\x03");
  ASSERT_TRUE(terminal.wait_for("(stopped)")) << terminal.output;
  ASSERT_TRUE(terminal.wait_for("> "));
  terminal.type("half a line\x03");
  ASSERT_TRUE(terminal.wait_for("exit or Ctrl-D")) << terminal.output;
  terminal.type("/stats\n");
  ASSERT_TRUE(terminal.wait_for("1 answer(s)")) << terminal.output;
  terminal.type("/reset\n");
  ASSERT_TRUE(terminal.wait_for("forgotten"));
  terminal.type("/statz\n");
  ASSERT_TRUE(terminal.wait_for("did you mean '/stats'")) << terminal.output;
  terminal.type("exit\n");
  EXPECT_EQ(terminal.finish(), 0);
}

}  // namespace
}  // namespace aqlm_exp::app
