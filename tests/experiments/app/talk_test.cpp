#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "experiments/app/chat_loop.h"
#include "experiments/app/foreign_options.h"
#include "experiments/app/perf_run.h"
#include "experiments/app/terminal.h"
#include "framework/base/error.h"
#include "framework/results/publish.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(ForeignOptions, AreAnsweredWithOurs) {
  EXPECT_THAT(foreign_options({"quantize", "a.yaml", "--num_codebooks", "2"}),
              ElementsAre("--num_codebooks 2: write quant.num_codebooks=2"));
  EXPECT_THAT(foreign_options({"--num-codebooks=4"}), ElementsAre("--num-codebooks=4: write quant.num_codebooks=4"));
  EXPECT_THAT(foreign_options({"--codebook_size", "16"}),
              ElementsAre("--codebook_size 16: write quant.nbits_per_codebook=16"));
  EXPECT_THAT(foreign_options({"--codebook_size", "65536"}),
              ElementsAre("--codebook_size 65536: write quant.nbits_per_codebook=16"));
  EXPECT_THAT(foreign_options({"--use_triton", "--use_numba"}),
              ElementsAre("--use_triton: write backend=cuda_generic", "--use_numba: write backend=cpu_lut"));
  EXPECT_THAT(foreign_options({"backend=triton"}), ElementsAre("backend=triton: write backend=cuda_generic"));
  EXPECT_THAT(foreign_options({"--output_dir", "q"}), ElementsAre("--output_dir q: write -o q"));
  EXPECT_THAT(foreign_options({"--max_new_tokens", "9"}), ElementsAre("--max_new_tokens 9: write --max-new-tokens 9"));
}

TEST(ForeignOptions, OursAreLeftAlone) {
  EXPECT_TRUE(foreign_options({"quantize", "a.yaml", "-o", "q", "--max-new-tokens", "9", "--top-p", "0.9",
                               "backend=cuda", "quant.num_codebooks=2", "--no-chat", "--seed", "3"})
                  .empty());
  EXPECT_NO_THROW(refuse_foreign_options("quantize", {"a.yaml"}));
  EXPECT_THROW(refuse_foreign_options("quantize", {"--wbits", "4"}), UsageError);
}

std::u32string typed(const std::string& bytes) {
  TypedCharacters characters;
  std::u32string out;
  for (const char byte : bytes) {
    characters.add(byte);
    while (const auto character = characters.take()) out += *character;
  }
  return out;
}

TEST(TypedCharacters, AreWholeAndABrokenOneTakesNoOtherWithIt) {
  EXPECT_EQ(typed("a\u00E9\u5BF9\U0001F44D\n"), U"a\u00E9\u5BF9\U0001F44D\n");
  EXPECT_EQ(typed("\xE9\x94\u5BF9!\n"), U"?\u5BF9!\n");  // what a terminal without IUTF8 leaves after backspace
  EXPECT_EQ(typed("\xE9\n"), U"?\n");
  EXPECT_EQ(typed("\x94\n"), U"?\n");
  EXPECT_EQ(typed("\xFF\xC0\x80z"), U"??z");
  EXPECT_EQ(typed("\xED\xA0\x80\n"), U"?\n");  // a surrogate
}

TEST(WithoutControls, AnAnswerCannotMoveTheCursor) {
  EXPECT_EQ(without_controls("a\x1b[2Jb\n\tc"), "a\u241B[2Jb\n\tc");
  EXPECT_EQ(without_controls("\x7f\u009b字"), "\u2421\uFFFD字");
}

class ScriptedReader final : public LineReader {
 public:
  explicit ScriptedReader(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  InputLine read(const std::string&) override {
    if (next_ == lines_.size()) return {LineKind::kEnd, {}};
    return {LineKind::kLine, lines_[next_++]};
  }

 private:
  std::vector<std::string> lines_;
  size_t next_ = 0;
};

std::vector<trial::UsableModel>& embedded() {
  static std::vector<trial::UsableModel> models = [] {
    std::vector<trial::UsableModel> list;
    list.push_back(trial::load_usable(
        {.model = std::string(AQLM_EXP_SOURCE_DIR) + "/models/qwen2-5m/", .device = "cpu", .backend = "dense"}));
    return list;
  }();
  return models;
}

std::string talk(const std::vector<std::string>& lines, int64_t context = 200) {
  trial::UsableModel& model = embedded().front();
  const auto decoder = generate::make_decoder(model.model, {.batch = 1, .capacity = context});
  generate::Conversation conversation(model.folder, *model.tokenizer);
  ChatSetup setup{.decoder = decoder.get(),
                  .tokenizer = &*model.tokenizer,
                  .conversation = &conversation,
                  .options = {.max_new_tokens = 8, .sampling = {.temperature = 0.7, .seed = 1}},
                  .model_name = "m",
                  .about = "cpu"};
  setup.options.stop_tokens = model.stop_tokens;
  std::string shown;
  ScriptedReader reader(lines);
  chat(setup, reader, [&](const std::string& piece) { shown += piece; });
  return shown;
}

TEST(Chat, TheSameSeedGivesTheSameConversation) {
  const std::string first = talk({"Once upon a time", "He said", "exit", "not read"});
  EXPECT_EQ(first, talk({"Once upon a time", "He said"}));
  EXPECT_GT(first.size(), 10u);
}

TEST(Chat, CommandsAnswerAndErrorsDoNotEndIt) {
  const TempDir folder;
  const std::string file = (folder.path() / "talk.json").string();
  const std::string shown = talk({"/stats", "Once upon a time", "/stats", "/save", "/save " + file,
                                  "/save /no/such/folder/x", "/resett", "/reset", "/stats", "/help"});
  EXPECT_THAT(shown, HasSubstr("0 answer(s)"));
  EXPECT_THAT(shown, HasSubstr("1 answer(s)"));
  EXPECT_THAT(shown, HasSubstr("/save needs a file"));
  EXPECT_THAT(shown, HasSubstr("written to " + file));
  EXPECT_THAT(shown, HasSubstr("/no/such/folder"));
  EXPECT_THAT(shown, HasSubstr("did you mean '/reset'"));
  EXPECT_THAT(shown, HasSubstr("forgets the conversation"));
  EXPECT_TRUE(std::filesystem::exists(file));
}

TEST(Chat, GoesOnWhenTheContextIsFull) {
  std::vector<std::string> lines(12, "and then the old man walked slowly along the road to the town");
  EXPECT_THAT(talk(lines, 64), HasSubstr("the oldest"));
}

TEST(LoadUsable, AHubsNameIsAnsweredWithTheDownloadCommand) {
  try {
    trial::load_usable({.model = "Qwen/Qwen2.5-3B", .device = "cpu"});
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), HasSubstr("hf download Qwen/Qwen2.5-3B --local-dir Qwen2.5-3B"));
  }
  EXPECT_THROW(trial::load_usable({.model = "no-such-folder", .device = "cpu"}), DataError);
}

TEST(LoadUsable, NamesOfOtherProgramsBackendsAreAnsweredWithOurs) {
  const auto message = [](const std::string& backend, const std::string& dtype) -> std::string {
    try {
      trial::load_usable({.model = std::string(AQLM_EXP_SOURCE_DIR) + "/models/qwen2-5m",
                          .device = "cpu",
                          .dtype = dtype,
                          .backend = backend});
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "taken";
  };
  EXPECT_THAT(message("triton", "auto"), HasSubstr("cuda_generic"));
  EXPECT_THAT(message("dnse", "auto"), HasSubstr("did you mean 'dense'"));
  EXPECT_THAT(message("dense", "fp16"), HasSubstr("float16"));
}

TEST(Perf, ReportsEveryFigureOfEveryModelAndRepeat) {
  std::vector<trial::UsableModel>& models = embedded();
  PerfOptions options;
  options.prompt_lengths = {8, 16};
  options.answer_lengths = {4};
  options.depths = {0, 8};
  options.question = "Once upon a time";
  options.generate.max_new_tokens = 5;
  options.repeats = 3;
  const PerfReport report = run_perf(models, options);
  ASSERT_EQ(report.models.size(), 1u);
  const PerfModel& model = report.models.front();
  std::vector<std::string> names;
  for (const PerfFigure& figure : model.figures) {
    names.push_back(figure.name);
    EXPECT_EQ(figure.runs.size(), 3u) << figure.name;
    EXPECT_GT(figure.mean(), 0) << figure.name;
  }
  EXPECT_THAT(names, ElementsAre("question", "question prefill", "question decode", "pp8", "pp16", "tg4", "pp8 @ d8",
                                 "pp16 @ d8", "tg4 @ d8"));
  EXPECT_EQ(model.new_tokens, 5);
  EXPECT_FALSE(model.answer.empty());
  EXPECT_GT(model.weight_bytes, 5 << 20);
  const std::string table = perf_table(report);
  for (const char* word :
       {"mean", "std", "minimum", "model memory", "before load", "after load", "after inference", "peak"}) {
    EXPECT_THAT(table, HasSubstr(word));
  }
  const Json json = perf_json(report);
  EXPECT_EQ(json["models"][0]["figures"][3]["name"], "pp8");
  EXPECT_EQ(json["models"][0]["figures"][3]["runs"].size(), 3u);
  const TempDir folder;
  const results::TrialRecord record = perf_record(report, model);
  results::publish(record, folder.path());
  const results::TrialRecord read = results::read_published(folder.path(), record.id);
  EXPECT_EQ(read.find_metric("pp8_tokens_per_s")->n, 3);
}

TEST(Perf, RandomWeightsNeedOnlyAConfig) {
  std::vector<trial::UsableModel> models;
  models.push_back(trial::load_usable({.model = std::string(AQLM_EXP_SOURCE_DIR) + "/models/qwen2-5m/config.json",
                                       .device = "cpu",
                                       .backend = "dense",
                                       .random = true}));
  PerfOptions options;
  options.prompt_lengths = {8};
  options.answer_lengths = {4};
  options.question = "is not asked";
  options.repeats = 1;
  const PerfReport report = run_perf(models, options);
  EXPECT_EQ(report.models.front().figures.size(), 2u);
  EXPECT_THAT(report.models.front().name, HasSubstr("random weights"));
}

}  // namespace
}  // namespace aqlm_exp::app
