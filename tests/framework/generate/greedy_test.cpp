#include "framework/generate/greedy.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::generate {
namespace {

TEST(Greedy, EqualsRunningTheWholeSequenceForEachToken) {
  const c10::NoGradGuard no_grad;
  const model::Model model = test::tiny_model(5);
  const std::vector<int32_t> prompt = {3, 14, 15, 9};
  std::vector<int64_t> sequence(prompt.begin(), prompt.end());
  std::vector<int32_t> expected;
  for (int i = 0; i < 8; ++i) {
    const at::Tensor logits = model.forward(at::tensor(sequence, at::kLong).unsqueeze(0));
    expected.push_back(static_cast<int32_t>(logits[0].select(0, -1).argmax().item<int64_t>()));
    sequence.push_back(expected.back());
  }
  EXPECT_EQ(greedy(model, prompt, 8), expected);
  EXPECT_TRUE(greedy(model, prompt, 0).empty());
}

TEST(Greedy, RefusesAnEmptyPromptAndTooLongAnswers) {
  const model::Model model = test::tiny_model(5);
  EXPECT_THROW(greedy(model, {}, 3), DataError);
  EXPECT_THROW(greedy(model, std::vector<int32_t>{1}, 64), DataError);
}

TEST(Speed, ReportsOneFigureARepeat) {
  const model::Model model = test::tiny_model(5);
  const std::vector<int32_t> text(20, 7);
  const Speed speed = measure_speed(model, text, {.prompt_tokens = 8, .decode_tokens = 4, .repeats = 2});
  ASSERT_EQ(speed.decode_tokens_per_s.size(), 2u);
  EXPECT_GT(median(speed.decode_tokens_per_s), 0);
  EXPECT_GT(median(speed.prefill_tokens_per_s), 0);
  EXPECT_THROW(measure_speed(model, std::vector<int32_t>(3, 1), {.prompt_tokens = 8}), DataError);
}

TEST(Median, IsTheMiddleOrTheMeanOfTwo) {
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
  EXPECT_EQ(median({}), 0);
}

}  // namespace
}  // namespace aqlm_exp::generate
