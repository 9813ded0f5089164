#include "framework/method/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"

namespace aqlm_exp::method {
namespace {

/// The letters in the order in which they would run; (...)* once, between brackets.
std::string unrolled(const std::vector<ScheduleStep>& steps) {
  std::string out;
  for (const ScheduleStep& step : steps) {
    if (step.letter != 0) {
      out += step.letter;
    } else if (step.count == ScheduleStep::kUntilTolerance) {
      out += "[" + unrolled(step.steps) + "]";
    } else {
      for (int64_t i = 0; i < step.count; ++i) out += unrolled(step.steps);
    }
  }
  return out;
}

TEST(Schedule, UnrollsGroupsAndRepeats) {
  EXPECT_EQ(unrolled(parse_schedule("(D L S)*5 I")), "DLSDLSDLSDLSDLSI");
  EXPECT_EQ(unrolled(parse_schedule("D (L (S I)*2)*2")), "DLSISILSISI");
  EXPECT_EQ(unrolled(parse_schedule("(LD)*")), "[LD]");
  EXPECT_EQ(unrolled(parse_schedule("D*3 L")), "DDDL");
  EXPECT_EQ(unrolled(parse_schedule("(D L) I")), "DLI");
  EXPECT_EQ(unrolled(parse_schedule(" ")), "");
}

TEST(Schedule, KnowsWhichStepsItUses) {
  const auto steps = parse_schedule("(D L)*2");
  EXPECT_TRUE(uses_step(steps, 'D'));
  EXPECT_TRUE(uses_step(steps, 'L'));
  EXPECT_FALSE(uses_step(steps, 'I'));
}

TEST(Schedule, SaysWhereATextIsWrong) {
  const auto message = [](const char* text) {
    try {
      parse_schedule(text);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message("D X"), testing::HasSubstr("character 3"));
  EXPECT_THAT(message("(D L"), testing::HasSubstr("closing bracket"));
  EXPECT_THAT(message("D)"), testing::HasSubstr("opening"));
  EXPECT_THAT(message("()*2"), testing::HasSubstr("steps between"));
  EXPECT_THAT(message("(D)*0"), testing::HasSubstr("1 to 100000"));
  EXPECT_THAT(message("D*"), testing::HasSubstr("1 to 100000"));
  EXPECT_THAT(message("(D)*99999999999999999999"), testing::HasSubstr("1 to 100000"));
}

}  // namespace
}  // namespace aqlm_exp::method
