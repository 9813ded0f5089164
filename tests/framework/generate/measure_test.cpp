#include "framework/generate/measure.h"

#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/generate/memory.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::generate {
namespace {

TEST(Repeats, KnowMeanDeviationAndMinimum) {
  const Repeats repeats{{2, 4, 4, 4, 5, 5, 7, 9}};
  EXPECT_DOUBLE_EQ(repeats.mean_s(), 5);
  EXPECT_NEAR(repeats.std_s(), 2.138089935299395, 1e-12);  // numpy.std(ddof=1)
  EXPECT_DOUBLE_EQ(repeats.min_s(), 2);
  EXPECT_EQ(Repeats{{3}}.std_s(), 0);
  EXPECT_EQ(Repeats{}.mean_s(), 0);
}

TEST(SpeedTest, HasTheNamesOfLlamaBench) {
  EXPECT_EQ((SpeedTest{SpeedTest::Kind::kPrefill, 512, 0}.name()), "pp512");
  EXPECT_EQ((SpeedTest{SpeedTest::Kind::kDecode, 128, 1024}.name()), "tg128 @ d1024");
}

TEST(SpeedTest, LeavesExactlyItsTokensInTheCache) {
  const model::Model model = test::tiny_model(5);
  const auto decoder = make_decoder(model, {.batch = 2, .capacity = 40});
  const std::vector<int32_t> text(40, 7);
  EXPECT_GT(run_speed_test(*decoder, {SpeedTest::Kind::kPrefill, 8, 4}, text), 0);
  EXPECT_EQ(decoder->num_tokens(1), 12);
  EXPECT_GT(run_speed_test(*decoder, {SpeedTest::Kind::kDecode, 6, 0}, text), 0);
  EXPECT_EQ(decoder->num_tokens(0), 7);  // one token fed, six steps
  EXPECT_THROW(run_speed_test(*decoder, {SpeedTest::Kind::kPrefill, 41, 0}, text), DataError);
  EXPECT_THROW(run_speed_test(*decoder, {SpeedTest::Kind::kDecode, 40, 8}, text), DataError);
}

TEST(Ask, GivesTheSameAnswerEachTime) {
  const model::Model model = test::tiny_model(5);
  const auto decoder = make_decoder(model, {.batch = 1, .capacity = 40});
  const std::vector<int32_t> prompt = {1, 2, 3};
  const GenerateOptions options{.max_new_tokens = 9, .sampling = {.temperature = 0.7, .seed = 1}, .stop_tokens = {}};
  const QuestionRun first = ask(*decoder, prompt, options), second = ask(*decoder, prompt, options);
  EXPECT_EQ(first.tokens, second.tokens);
  EXPECT_EQ(first.new_tokens, 9);
  EXPECT_EQ(first.prompt_tokens, 3);
  EXPECT_GE(first.total_s, first.prefill_s + first.decode_s - 1e-3);
}

TEST(Memory, TheHostsPeakIsAtLeastWhatIsThere) {
  const MemoryReading reading = read_memory(c10::Device(c10::kCPU));
  EXPECT_GT(reading.host_bytes, 1 << 20);
  EXPECT_GE(reading.host_peak_bytes, reading.host_bytes - (4 << 20));  // read one after the other
  EXPECT_EQ(reading.device_bytes, 0);
}

}  // namespace
}  // namespace aqlm_exp::generate
