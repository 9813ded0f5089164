#include "analysis/final_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "analysis/text_table.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::analysis {
namespace {

using results::TrialRecord;

TrialRecord trial(const std::string& method, const std::string& setting, double bits, double ppl, double kl,
                  const std::string& convention = "ppl.v1 w1024") {
  TrialRecord record;
  record.id = sha256_hex(method + setting + convention);
  record.labels = {
      {"method", method}, {"setting", setting}, {"preset", "quick"}, {"model", "m"}, {"convention", convention}};
  record.metrics = {{.name = "bits_per_weight", .value = bits},
                    {.name = "ppl", .value = ppl},
                    {.name = "decode_tokens_per_s", .value = 100.25},
                    {.name = "model_mib", .value = 10.5},
                    {.name = "quantise_s", .value = 3.0}};
  if (kl >= 0) record.metrics.push_back({.name = "kl", .value = kl});
  return record;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

size_t line_with(const std::string& text, const std::string& part) {
  const auto lines = lines_of(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find(part) != std::string::npos) return i;
  }
  ADD_FAILURE() << "no line with " << part << " in\n" << text;
  return 0;
}

bool is_marked(const std::string& text, const std::string& part) {
  const std::string line = lines_of(text)[line_with(text, part)];
  return line.back() == '*';
}

TEST(FinalTable, MarksTheBestOfEachBudgetByKl) {
  const std::string text = final_table({trial("none", "", 16, 15.7, 0), trial("rtn", "2 bit", 2.25, 99, 2.0),
                                        trial("aqlm", "2x7", 2.09, 30, 0.5), trial("gptq", "3 bit", 3.25, 18, 0.1),
                                        trial("hqq", "3 bit", 3.2, 17, 0.2), trial("rtn", "8 bit", 8.2, 15.8, 0.01)},
                                       {}, {});
  EXPECT_TRUE(is_marked(text, "2x7"));
  EXPECT_FALSE(is_marked(text, " 2 bit "));
  EXPECT_TRUE(is_marked(text, "GPTQ"));
  EXPECT_FALSE(is_marked(text, "HQQ")) << "its perplexity is lower, its KL is not";
  EXPECT_TRUE(is_marked(text, "8 bit"));
  EXPECT_LT(line_with(text, "unquantised"), line_with(text, "≤ 2.25 bits"));
  EXPECT_LT(line_with(text, "2x7"), line_with(text, " 2 bit "));
  EXPECT_LT(line_with(text, "≤ 3.25"), line_with(text, "> 4.25"));
  EXPECT_THAT(text, testing::HasSubstr("perplexity by ppl.v1 w1024"));
}

TEST(FinalTable, WithoutKlPerplexityRanks) {
  const std::string text = final_table({trial("rtn", "a", 2, 20, -1), trial("hqq", "b", 2, 10, 0.5)}, {}, {});
  EXPECT_TRUE(is_marked(text, "HQQ"));
  EXPECT_THAT(text, testing::HasSubstr("lowest perplexity"));
}

TEST(FinalTable, ConventionsNeverShareATable) {
  const std::string text =
      final_table({trial("rtn", "a", 2, 20, 1, "one"), trial("hqq", "b", 2, 10, 0.5, "two")}, {}, {});
  EXPECT_TRUE(is_marked(text, "RTN")) << "the best of its own table";
  EXPECT_TRUE(is_marked(text, "HQQ"));
  EXPECT_THAT(text, testing::HasSubstr("by one"));
  EXPECT_THAT(text, testing::HasSubstr("by two"));
  EXPECT_THAT(text, testing::HasSubstr("do not compare"));
}

TEST(FinalTable, NanRanksLastAndIsNeverBest) {
  const std::string text =
      final_table({trial("rtn", "a", 2, std::nan(""), std::nan("")), trial("hqq", "b", 2, 10, 0.5)}, {}, {});
  EXPECT_LT(line_with(text, "HQQ"), line_with(text, "RTN"));
  EXPECT_THAT(lines_of(text)[line_with(text, "RTN")], testing::HasSubstr("NaN"));
  EXPECT_FALSE(is_marked(final_table({trial("rtn", "a", 2, std::nan(""), std::nan(""))}, {}, {}), "RTN"));
}

TEST(FinalTable, FailuresAreListedWithTheirReason) {
  results::Sidecar failure{
      .id = std::string(64, 'a'), .name = "method=gptq", .status = "failed", .failure_class = "numerical"};
  failure.message = "not positive definite\x1b[31m";
  const std::string text = final_table({}, {failure}, {});
  EXPECT_THAT(text, testing::HasSubstr("method=gptq  numerical: not positive definite\\u001b[31m"));
}

TEST(FinalTable, RowsThatLookAlikeShowWhatDiffers) {
  TrialRecord a = trial("aqlm", "2x7", 2, 20, 1), b = trial("aqlm", "2x7", 2, 21, 2);
  b.id = sha256_hex("b");
  a.overrides = {"method=aqlm", "encoder.beam_size=1"};
  b.overrides = {"method=aqlm", "encoder.beam_size=8"};
  const std::string text = final_table({a, b}, {}, {});
  EXPECT_THAT(text, testing::HasSubstr("2x7 encoder.beam_size=8"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("method=aqlm")));
}

TEST(FinalTable, StaysWithinTheWidth) {
  TrialRecord wide = trial("aqlm", "設定の名前がとても長い場合にも表は崩れない", 2, 20, 1);
  for (size_t width : {40u, 60u, 80u, 120u}) {
    const std::string text = final_table({wide, trial("rtn", "a", 2, 20, 2)}, {}, {.budgets = {2.25}, .width = width});
    const auto lines = lines_of(text);
    for (size_t i = 1; i < lines.size(); ++i) {  // the caption may wrap
      if (lines[i].rfind("* ", 0) == 0 || lines[i].rfind("(no room", 0) == 0) continue;
      EXPECT_LE(display_width(lines[i]), width) << lines[i];
    }
    EXPECT_THAT(text, testing::HasSubstr("perplexity"));
  }
}

TEST(BudgetOf, BoundsBelongToTheirBudget) {
  EXPECT_EQ(budget_of(2.25, {2.25, 3.25}), 0u);
  EXPECT_EQ(budget_of(2.2500001, {2.25, 3.25}), 1u);
  EXPECT_EQ(budget_of(4, {2.25, 3.25}), 2u);
  EXPECT_EQ(budget_of(std::nan(""), {2.25, 3.25}), 2u);
}

TEST(DisplayWidth, KnowsWideAndCombiningCharacters) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("é"), 1u);
  EXPECT_EQ(display_width("e\xCC\x81"), 1u);  // e + combining acute
  EXPECT_EQ(display_width("漢字"), 4u);
  EXPECT_EQ(shortened("漢字漢字", 5), "漢字…");
  EXPECT_EQ(shortened("漢字漢字", 4), "漢…");
  EXPECT_EQ(printable("a\tb\x1b\xFF"), "a\\u0009b\\u001b\xEF\xBF\xBD");
}

}  // namespace
}  // namespace aqlm_exp::analysis
