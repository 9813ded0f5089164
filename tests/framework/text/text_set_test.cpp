#include "framework/text/text_set.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>

#include "framework/base/error.h"
#include "framework/base/sha256.h"

namespace aqlm_exp::text {
namespace {

namespace fs = std::filesystem;

Tokenizer letters() {
  return Tokenizer::parse(R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}})",
                          "t");
}
fs::path write(const std::string& content) {
  const fs::path path = fs::temp_directory_path() / ("aqlm_exp_text_set_" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << content;
  return path;
}
std::string load_code(const std::string& content) {
  try {
    load_text_set(write(content), letters());
  } catch (const DataError& error) {
    return error.code();
  }
  return "none";
}

TEST(TextSet, CarriesTheHashesOfTextAndIds) {
  const TextSet set = load_text_set(write("abba"), letters());
  EXPECT_EQ(set.ids, (std::vector<int32_t>{2, 1, 0}));
  EXPECT_EQ(set.text_sha256, sha256_hex("abba"));
  EXPECT_EQ(set.ids_sha256, sha256_hex(std::string("\2\0\0\0\1\0\0\0\0\0\0\0", 12)));
}

TEST(TextSet, RefusesWhatIsNoText) {
  EXPECT_EQ(load_code("ab\xFFz"), "X-UTF8");
  EXPECT_EQ(load_code(""), "X-EMPTY");
  EXPECT_EQ(load_code("zzz"), "X-EMPTY") << "no letter has a token";
  EXPECT_EQ(load_code("ab"), "none");
}

std::vector<int32_t> counting(int32_t size) {
  std::vector<int32_t> ids(static_cast<size_t>(size));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

TEST(SampleWindows, FirstTakesTheFirstWindowsInOrder) {
  Rng rng(1);
  const auto samples = sample_windows(counting(10), SampleRule::kFirst, 3, 3, rng);
  EXPECT_EQ(samples, (std::vector<std::vector<int32_t>>{{0, 1, 2}, {3, 4, 5}, {6, 7, 8}}));
  EXPECT_THROW(sample_windows(counting(8), SampleRule::kFirst, 3, 3, rng), DataError);
}

TEST(SampleWindows, RandomReachesEveryPlaceAndRepeatsWithItsSeed) {
  Rng rng(5);
  Rng again(5);
  const auto samples = sample_windows(counting(6), SampleRule::kRandom, 200, 4, rng);
  EXPECT_EQ(samples, sample_windows(counting(6), SampleRule::kRandom, 200, 4, again));
  int starts[3] = {0, 0, 0};
  for (const auto& sample : samples) {
    ASSERT_EQ(sample.size(), 4u);
    for (size_t i = 1; i < 4; ++i) EXPECT_EQ(sample[i], sample[i - 1] + 1);
    ++starts[sample[0]];
  }
  for (int count : starts) EXPECT_GT(count, 30);  // 67 expected each
  EXPECT_THROW(sample_windows(counting(3), SampleRule::kRandom, 1, 4, rng), DataError);
}

TEST(SampleWindows, UnknownRulesAreRefused) {
  EXPECT_EQ(sample_rule_of("first"), SampleRule::kFirst);
  EXPECT_THROW(sample_rule_of("last"), ConfigError);
}

}  // namespace
}  // namespace aqlm_exp::text
