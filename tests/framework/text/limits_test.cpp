// Limits of tokenizer.json (design/experiments.md 5.4) that take millions of entries to reach.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "framework/base/error.h"
#include "framework/text/bpe.h"
#include "framework/text/tokenizer.h"
#include "framework/text/vocabulary.h"
#include "tests/framework/base/code_of.h"

namespace aqlm_exp::text {
namespace {

TEST(TokenizerLoad, MergesAndTokensAreCounted) {
  std::string text = R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [0)";
  for (size_t i = 0; i < kMaxMerges; ++i) text += ",0";
  EXPECT_EQ(code_of([&] { Tokenizer::parse(text + "]}}", "t"); }), "K-RANGE");
  Vocabulary vocabulary(kMaxTokens + 1);
  for (size_t i = 0; i < kMaxTokens; ++i) vocabulary.add(fmt::format("{:x}", i), static_cast<int64_t>(i), "t");
  EXPECT_EQ(code_of([&] { vocabulary.add("z", kMaxTokens, "t"); }), "K-LIMIT");
}

}  // namespace
}  // namespace aqlm_exp::text
