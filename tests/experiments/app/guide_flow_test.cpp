// The guide's flow in one command, at a terminal: quantise, save, measure, talk, exit.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/experiments/app/pseudo_terminal.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::app {
namespace {

TEST(GuideFlow, OneCommandQuantisesSavesMeasuresAndTalks) {
  const TempDir folder;
  const std::filesystem::path out = folder.path() / "qwen_aqlm";
  PseudoTerminal terminal({AQLM_EXP_DRIVER, "quantize", "builtin:configs/quantize_quick.yaml", "-o", out.string(),
                           "exp.output.json=true", "--max-new-tokens", "20"},
                          100, {{"AQLM_EXP_HOME", AQLM_EXP_SOURCE_DIR}});
  ASSERT_TRUE(terminal.wait_for("saved in")) << terminal.output;
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.output;
  // Every figure that the guide lists.
  for (const char* figure : {"bits per weight", "perplexity", "KL to the original", "question, whole answer", "mean",
                             "std", "minimum", "question prefill", "question decode", "tokens/s", "model memory",
                             "before load", "after load", "after inference", "peak", "host", "GPU"}) {
    EXPECT_NE(terminal.output.find(figure), std::string::npos) << figure;
  }
  terminal.type("Once upon a time\n");
  ASSERT_TRUE(terminal.wait_for("> ")) << terminal.output;
  terminal.type("exit\n");
  EXPECT_EQ(terminal.finish(), 0) << terminal.output;
  for (const char* file : {"config.json", "tokenizer.json", "README.md"}) {
    EXPECT_TRUE(std::filesystem::exists(out / file)) << file;
  }
  bool json = false, hdf5 = false;
  for (const auto& entry : std::filesystem::directory_iterator(out / "performance_results")) {
    json = json || entry.path().extension() == ".json";
    hdf5 = hdf5 || entry.path().extension() == ".h5";
  }
  EXPECT_TRUE(json);
  EXPECT_TRUE(hdf5);
}

TEST(GuideFlow, ItsOptionNamesAreAnsweredWithOurs) {
  PseudoTerminal terminal(
      {AQLM_EXP_DRIVER, "quantize", "builtin:configs/quantize_quick.yaml", "--num_codebooks", "2", "--use_triton"}, 100,
      {{"AQLM_EXP_HOME", AQLM_EXP_SOURCE_DIR}});
  EXPECT_EQ(terminal.finish(), 2);
  EXPECT_NE(terminal.output.find("write quant.num_codebooks=2"), std::string::npos) << terminal.output;
  EXPECT_NE(terminal.output.find("write backend=cuda_generic"), std::string::npos) << terminal.output;
}

}  // namespace
}  // namespace aqlm_exp::app
