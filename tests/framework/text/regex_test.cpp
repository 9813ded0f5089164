#include "framework/text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "framework/base/error.h"
#include "framework/text/pattern.h"

namespace aqlm_exp::text {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> matches(std::string_view pattern, std::string_view text) {
  std::vector<std::string> found;
  Regex(pattern, "test").for_each_match(text, [&](size_t begin, size_t end) {
    found.emplace_back(text.substr(begin, end - begin));
  });
  return found;
}
std::string verdict(std::string_view pattern) {
  try {
    Regex(pattern, "test");
  } catch (const DataError& error) {
    return error.code();
  }
  return "none";
}

TEST(Regex, ReadsOnigurumasClasses) {
  EXPECT_THAT(matches(R"(\s+)",
                      "a\xC2\xA0\xE2\x80\x83 b\xE1\xA0\x8E"
                      "c\xC2\x85"),
              ElementsAre("\xC2\xA0\xE2\x80\x83 ", "\xC2\x85"))
      << "U+180E is no white space";
  EXPECT_THAT(matches(R"([^\s]+)", "ab \tc"), ElementsAre("ab", "c"));
  EXPECT_THAT(matches(R"(\w+)", "a\xCC\x81_9 \xE0\xA4\x95\xE0\xA5\x8D-"),
              ElementsAre("a\xCC\x81_9", "\xE0\xA4\x95\xE0\xA5\x8D"));
  EXPECT_THAT(matches(R"(\h+)", "xyzBad"), ElementsAre("Bad"));
  EXPECT_THAT(matches(R"((?i:'s))", "'s 'S '\xC5\xBF"), ElementsAre("'s", "'S", "'\xC5\xBF"));
  EXPECT_THAT(matches(R"((?m:a.b))", "a\nb"), ElementsAre("a\nb"));
  EXPECT_THAT(matches(R"(^a$)", "a\na"), ElementsAre("a", "a")) << "^ and $ hold at every line";
}

TEST(Regex, EmptyMatchesAdvanceByCodePoints) {
  EXPECT_EQ(matches("x*", "\xC3\xA9xx").size(), 2u) << "before the letter, and the run";
  EXPECT_THAT(matches("b", "aaa"), IsEmpty());
  EXPECT_THAT(matches("", ""), ElementsAre(""));
}

TEST(Regex, WhatMeansSomethingElseIsRefused) {
  EXPECT_EQ(verdict(R"([a-z&&[^b]])"), "K-REGEX");
  EXPECT_EQ(verdict(R"([a[b]])"), "K-REGEX");
  EXPECT_EQ(verdict(R"(\p{N}{1,3}+)"), "K-REGEX");
  EXPECT_EQ(verdict("("), "K-REGEX");
  EXPECT_EQ(verdict("\\"), "K-REGEX");
  EXPECT_EQ(verdict(R"(\C)"), "K-REGEX");
  EXPECT_EQ(verdict(std::string(70000, 'a')), "K-REGEX");
  EXPECT_EQ(verdict(std::string(1000, '(') + std::string(1000, ')')), "K-REGEX");
  EXPECT_EQ(verdict("(?:(?:(?:a{1000}){1000}){1000}){1000}"), "K-REGEX");
  EXPECT_EQ(verdict(R"([[:alpha:]]{1,3}\[[\]a]+)"), "none");
}

TEST(Pattern, SplitsInEveryWay) {
  const Pattern comma{std::string(",")};
  const std::string text = ",a,,b";
  const auto split = [&](SplitBehavior behavior) {
    std::vector<Range> ranges;
    split_cuts(cut_at(text, comma), behavior, 0, ranges);
    std::vector<std::string> pieces;
    for (const Range& range : ranges) pieces.push_back(text.substr(range.begin, range.end - range.begin));
    return pieces;
  };
  EXPECT_THAT(split(SplitBehavior::kRemoved), ElementsAre("a", "b"));
  EXPECT_THAT(split(SplitBehavior::kIsolated), ElementsAre(",", "a", ",", ",", "b"));
  EXPECT_THAT(split(SplitBehavior::kMergedWithPrevious), ElementsAre(",", "a,", ",", "b"));
  EXPECT_THAT(split(SplitBehavior::kMergedWithNext), ElementsAre(",a", ",", ",b"));
  EXPECT_THAT(split(SplitBehavior::kContiguous), ElementsAre(",", "a", ",,", "b"));
}

}  // namespace
}  // namespace aqlm_exp::text
