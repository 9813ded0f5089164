// The models of ../shared: ids, round trips and token counts as Hugging Face's library gives them.
#include <gtest/gtest.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/file.h"
#include "framework/base/rng.h"
#include "framework/base/strict_json.h"
#include "framework/base/timer.h"
#include "framework/text/text_set.h"
#include "framework/text/tokenizer.h"
#include "tests/framework/text/cpu_time.h"
#include "tests/framework/text/shared_files.h"

namespace aqlm_exp::text {
namespace {

namespace fs = std::filesystem;

TEST(SharedTokenizer, GivesTheGoldenIdsAndTexts) {
  const fs::path model = shared_model("qwen2-17m");
  const fs::path golden = shared_folder() / "data" / "tokenizer_golden.json";
  if (model.empty() || !fs::exists(golden)) GTEST_SKIP() << "no models in AQLM_EXP_SHARED (default ../shared)";
  const Tokenizer tokenizer = Tokenizer::load(model);
  EXPECT_EQ(tokenizer.vocab_size(), 8192);
  const auto cases = read_strict_json(golden, "X");
  ASSERT_GT(cases.size(), 5u);
  for (const auto& entry : cases) {
    const auto text = entry["text"].get<std::string>();
    const std::vector<int32_t> ids = tokenizer.encode(text);
    EXPECT_EQ(ids, entry["ids"].get<std::vector<int32_t>>()) << text;
    EXPECT_EQ(tokenizer.decode(ids), entry["decoded"].get<std::string>()) << text;
  }
}

TEST(SharedTokenizer, CountsTokensOfWholeTexts) {
  const fs::path model = shared_model("qwen2-17m");
  if (model.empty()) GTEST_SKIP() << "no models in AQLM_EXP_SHARED (default ../shared)";
  const Tokenizer tokenizer = Tokenizer::load(model);
  const std::pair<const char*, size_t> counts[] = {{"novels_test.txt", 219364},
                                                   {"wikitext2_test.txt", 409110},
                                                   {"sampled_eval.txt", 81802},
                                                   {"sampled_calibration.txt", 163824}};
  for (const auto& [name, count] : counts) {
    const fs::path path = shared_folder() / "data" / name;
    if (!fs::exists(path)) GTEST_SKIP() << path << " is absent";
    const Stopwatch watch;
    const TextSet set = load_text_set(path, tokenizer);
    const double seconds = watch.elapsed_s();
    EXPECT_EQ(set.ids.size(), count) << name;
    std::string joined;
    for (int32_t id : set.ids) joined += tokenizer.token_bytes(id);
    EXPECT_EQ(joined, tokenizer.decode(set.ids)) << "bytes of single tokens must join to the text";
    std::printf("%s: %.1f MB/s\n", name, static_cast<double>(fs::file_size(path)) / 1e6 / seconds);
  }
}

TEST(SharedTokenizer, AMillionLettersInOneWordTakeUnderTwoSeconds) {
  const fs::path model = shared_model("qwen2-17m");
  if (model.empty()) GTEST_SKIP() << "no models in AQLM_EXP_SHARED (default ../shared)";
  const Tokenizer tokenizer = Tokenizer::load(model);
  std::string mixed;
  Rng rng(3);
  for (int i = 0; i < 1000000; ++i) mixed += static_cast<char>('a' + rng.below(26));
  for (const std::string& text :
       {std::string(1000000, 'a'), mixed, std::string(1000000, ' '), std::string(1000000, '\n')}) {
    const CpuStopwatch watch;
    const std::vector<int32_t> ids = tokenizer.encode(text);
    const double seconds = watch.elapsed_s();
    EXPECT_LT(seconds, 2.0) << text.substr(0, 8);
    EXPECT_EQ(tokenizer.decode(ids), text);
    std::printf("%zu ids in %.2f s\n", ids.size(), seconds);
  }
}

}  // namespace
}  // namespace aqlm_exp::text
