// Conventions: tags, windows, and what they make of the same model and text.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "framework/base/error.h"
#include "framework/eval/evaluate.h"
#include "framework/eval/wikitext.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::eval {
namespace {

EvalText text_of(int64_t count) {
  EvalText text;
  for (int64_t i = 0; i < count; ++i) text.ids.push_back(static_cast<int32_t>(i * 17 % 50));
  return text;
}

/// −log p of ids[at] given ids[from..at-1].
double loss_at(const model::Model& model, const std::vector<int32_t>& ids, int64_t from, int64_t at) {
  const std::vector<int64_t> seen(ids.begin() + from, ids.begin() + at);
  const at::Tensor logits =
      model.forward(at::tensor(seen, at::kLong).unsqueeze(0)).squeeze(0)[at - from - 1].to(at::kDouble);
  return (logits.logsumexp(0) - logits[ids[static_cast<size_t>(at)]]).item<double>();
}

TEST(ConventionTag, IsReadBackAsItIsPrinted) {
  for (const char* tag : {"gptq-2048", "gptq-4096", "gptq-1024 first-24", "llamacpp-512", "hqq-1024/512", "word-2048",
                          "hqq-100/7 first-3"}) {
    EXPECT_EQ(convention_from_tag(tag).tag(), tag);
    EXPECT_FALSE(convention_from_tag(tag).description().empty());
  }
  EXPECT_EQ(convention_from_tag("hqq-1024/512 first-3").slug(), "hqq_1024_512_first_3");
}

TEST(ConventionTag, IsRefusedWhenItNamesNone) {
  for (const char* tag : {"", "gptq", "gptq-", "gptq-0", "gptq-1", "gptq-x", "gptq-2048x", "gptq-2048 ",
                          "gptq-2048 first-0", "gptq-2048 last-3", "hqq-1024", "hqq-512/1024", "hqq-1024/0", "c4-2048",
                          "llamacpp-2", "gptq-99999999999999999999"}) {
    EXPECT_THROW(convention_from_tag(tag), ConfigError) << tag;
  }
}

TEST(ConventionTag, NumbersOfTwoConventionsAreNotCompared) {
  EXPECT_NO_THROW(require_same_convention("gptq-2048", "gptq-2048"));
  EXPECT_THROW(require_same_convention("gptq-2048", "gptq-4096"), DataError);
  EXPECT_THROW(require_same_convention("gptq-2048", "gptq-2048 first-4"), DataError);
}

TEST(FurtherConventions, AreReadFromTagsAndNotTwice) {
  const Convention first{.name = "gptq", .seq_len = 1024, .stride = 1024};
  const auto read = [&](const std::string& json) {
    const config::Node node = config::from_json(json, "test");
    config::Reader in(node);
    return read_further_conventions(in, first);
  };
  EXPECT_EQ(read(R"({"also":["llamacpp-512","hqq-1024/512"]})").size(), 2u);
  EXPECT_TRUE(read("{}").empty());
  EXPECT_THROW(read(R"({"also":["gptq-1024"]})"), ConfigError);
  EXPECT_THROW(read(R"({"also":["llamacpp-512","llamacpp-512"]})"), ConfigError);
}

TEST(LlamaCpp, ScoresTheSecondHalfAndPutsBosFirst) {
  EvalText text = text_of(35);
  const Convention rule = convention_from_tag("llamacpp-10");
  EXPECT_EQ(make_window_set(text, rule, at::kCPU).windows[1].ids[0].item<int64_t>(), text.ids[10]);
  text.bos = 49;
  const WindowSet set = make_window_set(text, rule, at::kCPU);
  ASSERT_EQ(set.windows.size(), 3u);
  EXPECT_EQ(set.divisor, 3 * 4);
  const c10::NoGradGuard no_grad;
  const model::Model model = test::tiny_model(3);
  double sum = 0;
  for (int64_t w = 0; w < 3; ++w) {
    std::vector<int32_t> ids(text.ids.begin() + 10 * w, text.ids.begin() + 10 * w + 10);
    ids[0] = 49;
    for (int64_t at = 6; at < 10; ++at)
      sum += loss_at(model, ids, 0, at);  // llama.cpp: first = n_ctx / 2, from first + 1
  }
  const Evaluation result = evaluate(model, set, nullptr);
  EXPECT_NEAR(result.log_perplexity, sum / 12, 1e-6);
  EXPECT_EQ(result.num_scored_tokens, 12);
  EXPECT_EQ(result.convention, "llamacpp-10");
}

TEST(Hqq, PredictsEveryTokenBehindItsContext) {
  const EvalText text = text_of(21);
  const WindowSet set = make_window_set(text, convention_from_tag("hqq-10/4"), at::kCPU);
  const c10::NoGradGuard no_grad;
  const model::Model model = test::tiny_model(3);
  double sum = 0;
  for (int64_t start = 0; start < 21; start += 4) {
    const int64_t end = std::min<int64_t>(start + 4, 21), begin = std::max<int64_t>(start + 4 - 10, 0);
    double step = 0, count = 0;
    for (int64_t at = std::max<int64_t>(start, 1); at < end; ++at, ++count) {
      if (at > begin) step += loss_at(model, text.ids, begin, at);
    }
    sum += step / count * static_cast<double>(end - start);
  }
  const Evaluation result = evaluate(model, set, nullptr);
  EXPECT_NEAR(result.log_perplexity, sum / 21, 1e-6);
  EXPECT_EQ(result.num_scored_tokens, 20);  // all but the first, which has nothing before it
}

TEST(Word, ScoresEveryTokenOfEachDocumentAndDividesByWords) {
  EvalText text;
  text.prefix = 49;
  text.documents.push_back({.ids = text_of(23).ids, .num_words = 9, .num_bytes = 50});
  text.documents.push_back({.ids = {5, 6, 7}, .num_words = 2, .num_bytes = 9});
  const WindowSet set = make_window_set(text, convention_from_tag("word-10"), at::kCPU);
  const c10::NoGradGuard no_grad;
  const model::Model model = test::tiny_model(3);
  double sum = 0;
  for (const EvalText::Document& document : text.documents) {
    std::vector<int32_t> ids = {49};
    ids.insert(ids.end(), document.ids.begin(), document.ids.end());
    const auto size = static_cast<int64_t>(document.ids.size());
    for (int64_t begin = 0; begin < size; begin += 10) {
      const int64_t end = std::min<int64_t>(begin + 10, size), from = begin == 0 ? 0 : end - 10;
      for (int64_t at = begin + 1; at <= end; ++at) sum += loss_at(model, ids, from, at);
    }
  }
  const Evaluation result = evaluate(model, set, nullptr);
  EXPECT_EQ(result.num_scored_tokens, 26);
  EXPECT_NEAR(result.log_perplexity, sum / 11, 1e-5);
  EXPECT_NEAR(*result.bits_per_byte, sum / std::log(2.0) / 59, 1e-5);
  EXPECT_EQ(result.window_document, (std::vector<int64_t>{0, 0, 0, 1}));
}

TEST(Windows, NeedATextThatIsLongEnough) {
  EXPECT_THROW(make_window_set(text_of(9), convention_from_tag("gptq-10"), at::kCPU), DataError);
  EXPECT_THROW(make_window_set(text_of(9), convention_from_tag("llamacpp-10"), at::kCPU), DataError);
  EXPECT_THROW(make_window_set(text_of(1), convention_from_tag("hqq-10/5"), at::kCPU), DataError);
  EXPECT_EQ(make_window_set(text_of(2), convention_from_tag("hqq-10/5"), at::kCPU).windows.size(), 1u);
}

TEST(Evaluation, TokensAddUpToWindows) {
  const model::Model model = test::tiny_model(1);
  const WindowSet set = make_window_set(text_of(47), convention_from_tag("hqq-10/4"), at::kCPU);
  const model::Model other = test::tiny_model(2);
  const auto live = logits_from_model(other);
  const Evaluation result = evaluate(model, set, live.get());
  size_t at = 0, position = 0;
  for (size_t w = 0; w < set.windows.size(); ++w) {
    double losses = 0, kl = 0;
    for (int64_t i = 0; i < result.window_tokens[w]; ++i) losses += result.token_losses[at++];
    for (int64_t i = 0; i < result.divergence->window_positions[w]; ++i) kl += result.divergence->token_kl[position++];
    EXPECT_NEAR(result.window_losses[w], losses / static_cast<double>(result.window_tokens[w]), 1e-12);
    EXPECT_NEAR(result.window_kl[w], kl / static_cast<double>(result.divergence->window_positions[w]), 1e-12);
  }
  EXPECT_EQ(at, result.token_losses.size());
  EXPECT_EQ(position, result.divergence->token_kl.size());
  EXPECT_GE(result.divergence->kl.p99, result.divergence->kl.median);
  EXPECT_GE(result.divergence->kl.max, result.divergence->kl.p999);
  EXPECT_GT(result.log_perplexity_error, 0);
}

TEST(Evaluation, DeltaPIsTheChangeOfTheTrueTokensProbability) {
  const c10::NoGradGuard no_grad;
  const model::Model model = test::tiny_model(1), other = test::tiny_model(2);
  const EvalText text = text_of(12);
  const WindowSet set = make_window_set(text, convention_from_tag("gptq-12"), at::kCPU);
  const auto reference = logits_from_model(other);
  const Evaluation result = evaluate(model, set, reference.get());
  double sum = 0, squares = 0, least = 1, most = -1;
  for (int64_t at = 1; at < 12; ++at) {
    const double delta = std::exp(-loss_at(model, text.ids, 0, at)) - std::exp(-loss_at(other, text.ids, 0, at));
    sum += delta;
    squares += delta * delta;
    least = std::min(least, delta);
    most = std::max(most, delta);
  }
  EXPECT_NEAR(result.divergence->delta_p.mean, sum / 11, 1e-6);
  EXPECT_NEAR(result.divergence->delta_p_rms, std::sqrt(squares / 11), 1e-6);
  EXPECT_NEAR(result.divergence->delta_p.min, least, 1e-6);
  EXPECT_NEAR(result.divergence->delta_p.max, most, 1e-6);
}

TEST(NoiseFloor, IsSmallButNotZero) {
  const model::Model model = test::tiny_model(1);
  const WindowSet set = make_window_set(text_of(40), convention_from_tag("gptq-10"), at::kCPU);
  const auto reference = logits_from_model(model);
  const double floor = *evaluate(with_bf16_linears(model), set, reference.get()).kl;
  EXPECT_GT(floor, 1e-9);
  EXPECT_LT(floor, 1e-3);
  EXPECT_NEAR(*evaluate(model, set, reference.get()).kl, 0, 1e-9);  // and leaves the model alone
}

// Golden: python3, the function of lm_eval/tasks/wikitext/preprocess_wikitext.py on the same strings.
TEST(Wikitext, IsDetokenisedAsTheHarnessDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"the dogs ' bone", "the dogs' bone"},
      {"well @-@ known 1 @,@ 000 and 2 @.@ 5", "well-known 1,000 and 2.5"},
      {"yes , no ; a : b . c ! d ? e", "yes, no; a: b. c! d? e"},
      {"( a b ) and (  ) and [ x ] and { y }", "(a b) and () and [x] and {y}"},
      {"he said \" hi there \" to ' us '", "he said \"hi there\" to 'us'"},
      {" = Title = \n", " = Title =\n"},
      {" = = Part = = \n", " == Part ==\n"},
      {"= = = = x = = =", "==== x ==="},
      {"20 \u00b0 C", "20\u00b0C"},
      {"a \n b", "a\nb"},
      {"x N y", "x 1 y"},
      {"it 's", "it's"},
      {"open ( never closed", "open ( never closed"},
      {"( \u00a0wide\u3000 )", "(wide)"},
      {"a /' 5/ b", "a /'[0-9]/ b"},
      {"", ""},
  };
  for (const auto& [page, text] : cases) EXPECT_EQ(detokenise_wikitext(page), text) << page;
}

TEST(Wikitext, IsCutAtTitles) {
  const std::string text = "\n\n = One = \n\n a\n\n = = Part = = \n b\n = Two = \n c\n";
  const std::vector<std::string> pages = split_documents(text);
  ASSERT_EQ(pages.size(), 2u);
  EXPECT_TRUE(pages[0].starts_with(" = One = "));
  EXPECT_NE(pages[0].find("Part"), std::string::npos);
  EXPECT_EQ(pages[1], " = Two = \n c\n");
  EXPECT_EQ(split_documents("no titles\n here").size(), 1u);
  EXPECT_EQ(split_documents("before\n = T = \n x").size(), 2u);
}

TEST(Wikitext, WordsAreCountedAsPythonSplitsThem) {
  EXPECT_EQ(count_words("one two\n three"), 3);
  EXPECT_EQ(count_words(" one "), 3);  // re.split keeps the empty pieces
  EXPECT_EQ(count_words(""), 1);
  EXPECT_EQ(count_words("a\u00a0b\u3000c\x1c"
                        "d"),
            4);
}

}  // namespace
}  // namespace aqlm_exp::eval
