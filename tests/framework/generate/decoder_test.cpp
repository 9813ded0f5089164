#include "framework/generate/decoder.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <set>

#include "framework/base/error.h"
#include "framework/generate/generate.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::generate {
namespace {

/// A model whose answers are not one token again and again, as those of tied random embeddings are.
model::Model lively_model(uint64_t seed) {
  model::Model model = test::tiny_model(seed);
  model.output = test::gaussian(model.embedding.sizes().vec(), seed + 100);
  return model;
}

/// Greedy tokens by running the whole sequence for each of them.
std::vector<int32_t> by_full_forward(const model::Model& model, std::vector<int32_t> sequence, int64_t count) {
  const c10::NoGradGuard no_grad;
  std::vector<int32_t> out;
  for (int64_t i = 0; i < count; ++i) {
    const std::vector<int64_t> wide(sequence.begin(), sequence.end());
    const at::Tensor logits = model.forward(at::tensor(wide, at::kLong).unsqueeze(0));
    out.push_back(static_cast<int32_t>(logits[0].select(0, -1).argmax().item<int64_t>()));
    sequence.push_back(out.back());
  }
  return out;
}

GenerateOptions greedy_options(int64_t tokens) {
  return {.max_new_tokens = tokens, .sampling = SamplingOptions::greedy(), .stop_tokens = {}};
}

TEST(Generate, CachedDecodingEqualsFullForward) {
  const model::Model model = lively_model(5);
  const std::vector<int32_t> prompt = {3, 14, 15, 9};
  const auto wanted = by_full_forward(model, prompt, 12);
  EXPECT_GT(std::set<int32_t>(wanted.begin(), wanted.end()).size(), 4u) << "an answer that proves something";
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 32});
  EXPECT_EQ(generate(*decoder, {&prompt, 1}, greedy_options(12))[0].tokens, by_full_forward(model, prompt, 12));
  // The decoder starts anew with each call.
  EXPECT_EQ(generate(*decoder, {&prompt, 1}, greedy_options(12))[0].tokens, by_full_forward(model, prompt, 12));
}

TEST(Generate, UnequalPromptsAnswerTogetherAsTheyDoAlone) {
  for (const int64_t window : {0, 4}) {
    model::Model model = lively_model(6);
    for (model::DecoderBlock& block : model.blocks) block.shape.window = window;
    const std::vector<std::vector<int32_t>> prompts = {{3, 14, 15, 9, 2, 6}, {7}, {1, 2, 3}};
    const auto decoder = make_decoder(model, {.batch = 3, .capacity = 24});
    const auto answers = generate(*decoder, prompts, greedy_options(10));
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(answers[i].tokens, by_full_forward(model, prompts[i], 10)) << "prompt " << i << " window " << window;
    }
  }
}

TEST(Generate, EqualPromptsMayDrawDifferently) {
  const model::Model model = lively_model(7);
  const std::vector<std::vector<int32_t>> prompts(4, {5, 6, 7});
  const auto decoder = make_decoder(model, {.batch = 4, .capacity = 40});
  GenerateOptions options{.max_new_tokens = 30, .sampling = {.temperature = 5.0, .seed = 3}, .stop_tokens = {}};
  const auto first = generate(*decoder, prompts, options);
  EXPECT_NE(first[0].tokens, first[1].tokens);
  const auto again = generate(*decoder, prompts, options);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(first[i].tokens, again[i].tokens);
  // Sequence i draws with seed + i, whoever else is there.
  const auto one = make_decoder(model, {.batch = 1, .capacity = 40});
  options.sampling.seed = 5;
  EXPECT_EQ(generate(*one, {prompts.data(), 1}, options)[0].tokens, first[2].tokens);
}

TEST(Generate, StopTokensEndAnAnswerAndAreNotPartOfIt) {
  const model::Model model = lively_model(5);
  const std::vector<int32_t> prompt = {3, 14, 15, 9};
  const auto all = by_full_forward(model, prompt, 12);
  GenerateOptions options = greedy_options(12);
  options.stop_tokens = {all[5]};
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 32});
  const Answer answer = generate(*decoder, {&prompt, 1}, options)[0];
  const auto end = std::find(all.begin(), all.end(), all[5]);
  EXPECT_EQ(answer.tokens, std::vector<int32_t>(all.begin(), end));
  EXPECT_EQ(answer.reason, StopReason::kStopToken);
}

TEST(Generate, TheListenerSeesEachTokenAndMayStop) {
  const model::Model model = lively_model(5);
  const std::vector<int32_t> prompt = {3, 14};
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 32});
  std::vector<int32_t> heard;
  const Answer answer = generate(*decoder, {&prompt, 1}, greedy_options(12), [&](int64_t sequence, int32_t token) {
    EXPECT_EQ(sequence, 0);
    heard.push_back(token);
    return heard.size() < 4;
  })[0];
  EXPECT_EQ(heard.size(), 4u);
  EXPECT_EQ(answer.tokens, heard);
  EXPECT_EQ(answer.reason, StopReason::kInterrupted);
}

TEST(Generate, EndsWhereTheContextIsFull) {
  const model::Model model = lively_model(5);
  const std::vector<int32_t> prompt = {3, 14, 15, 9};
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 7});
  const Answer answer = generate(*decoder, {&prompt, 1}, greedy_options(12))[0];
  EXPECT_EQ(answer.tokens.size(), 3u);
  EXPECT_EQ(answer.reason, StopReason::kContextFull);
  EXPECT_EQ(answer.tokens, by_full_forward(model, prompt, 3));
}

TEST(ContinueText, ReusesWhatTheDecoderHolds) {
  const model::Model model = lively_model(8);
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 60});
  std::vector<int32_t> held, text = {3, 14, 15, 9};
  for (int turn = 0; turn < 4; ++turn) {
    const Answer answer = continue_text(*decoder, held, text, greedy_options(5));
    EXPECT_EQ(answer.tokens, by_full_forward(model, text, 5)) << turn;
    if (turn > 0) {
      EXPECT_EQ(answer.prompt_tokens, 3) << "the last answer's last token and two new ones";
    }
    text.insert(text.end(), answer.tokens.begin(), answer.tokens.end());
    text.push_back(turn);
    text.push_back(2 * turn);
  }
  // A text that parts from what is held, and one that is its beginning.
  text = {3, 14, 20, 21};
  EXPECT_EQ(continue_text(*decoder, held, text, greedy_options(5)).tokens, by_full_forward(model, text, 5));
  text = {3, 14};
  EXPECT_EQ(continue_text(*decoder, held, text, greedy_options(5)).tokens, by_full_forward(model, text, 5));
}

TEST(Decoder, RefusesWhatItCannotHold) {
  const model::Model model = lively_model(5);
  EXPECT_THROW(make_decoder(model, {.batch = 1, .capacity = 1 << 20}), DataError);
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 4});
  EXPECT_THROW(decoder->feed(0, std::vector<int32_t>{1, 2, 3, 4, 5}), DataError);
  EXPECT_THROW(decoder->feed(0, std::vector<int32_t>{50}), DataError);  // the vocabulary has 50
  EXPECT_THROW(decoder->feed(0, {}), DataError);
  EXPECT_EQ(decoder->description(), "eager");
}

}  // namespace
}  // namespace aqlm_exp::generate
