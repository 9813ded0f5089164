// Byte pair encoding against the plain definition, and its speed on inputs made to be slow.
#include "framework/text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "framework/base/rng.h"
#include "framework/text/tokenizer.h"
#include "tests/framework/text/cpu_time.h"

namespace aqlm_exp::text {
namespace {

using Json = nlohmann::json;

struct RandomBpe {
  Json json;
  std::vector<std::pair<std::string, std::string>> merges;
};

/// Letters a to c and random merges of what exists so far.
RandomBpe random_bpe(Rng& rng, int num_merges) {
  RandomBpe result;
  std::vector<std::string> tokens = {"a", "b", "c"};
  Json merges = Json::array();
  while (static_cast<int>(result.merges.size()) < num_merges) {
    const std::string left = tokens[rng.below(tokens.size())];
    const std::string right = tokens[rng.below(tokens.size())];
    if (left.size() + right.size() > 12) continue;
    if (std::find(result.merges.begin(), result.merges.end(), std::pair(left, right)) != result.merges.end()) continue;
    result.merges.emplace_back(left, right);
    merges.push_back({left, right});
    if (std::find(tokens.begin(), tokens.end(), left + right) == tokens.end()) tokens.push_back(left + right);
  }
  Json vocab = Json::object();
  for (size_t i = 0; i < tokens.size(); ++i) vocab[tokens[i]] = i;
  result.json = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
  return result;
}

/// The definition: again and again, the earliest merge in the list that applies anywhere, at its leftmost place.
std::vector<std::string> merge_plainly(const RandomBpe& bpe, const std::string& text) {
  std::vector<std::string> symbols;
  for (char c : text) symbols.emplace_back(1, c);
  for (bool merged = true; merged;) {
    merged = false;
    for (const auto& [left, right] : bpe.merges) {
      for (size_t i = 0; i + 1 < symbols.size() && !merged; ++i) {
        if (symbols[i] != left || symbols[i + 1] != right) continue;
        symbols[i] += symbols[i + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        merged = true;
      }
      if (merged) break;
    }
  }
  return symbols;
}

TEST(Bpe, MatchesThePlainDefinitionOnShortAndLongPieces) {
  Rng rng(11);
  for (int round = 0; round < 40; ++round) {
    const RandomBpe bpe = random_bpe(rng, 2 + static_cast<int>(rng.below(30)));
    const Tokenizer tokenizer = Tokenizer::parse(bpe.json.dump(), "t");
    for (size_t size : {1, 2, 3, 10, 39, 40, 41, 42, 100, 200}) {  // 40 symbols is where the heap takes over
      std::string text;
      for (size_t i = 0; i < size; ++i) text += static_cast<char>('a' + rng.below(3));
      std::vector<std::string> tokens;
      for (int32_t id : tokenizer.encode(text)) tokens.push_back(tokenizer.token(id));
      ASSERT_EQ(tokens, merge_plainly(bpe, text)) << text;
    }
  }
}

TEST(Bpe, AMillionEqualLettersTakeUnderTwoSeconds) {
  Json vocab = Json::object();
  Json merges = Json::array();
  std::string token = "a";
  vocab[token] = 0;
  for (int i = 1; i <= 11; ++i) {  // a, aa, aaaa, ... 2048 letters
    merges.push_back({token, token});
    token += token;
    vocab[token] = i;
  }
  const Json json = {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
                     {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
                     {"decoder", {{"type", "ByteLevel"}}}};
  const Tokenizer tokenizer = Tokenizer::parse(json.dump(), "t");
  const std::string text(1000000, 'a');
  const CpuStopwatch watch;
  const std::vector<int32_t> ids = tokenizer.encode(text);
  EXPECT_LT(watch.elapsed_s(), 2.0);
  EXPECT_EQ(ids.size(), 1000000U / 2048U + 2U);  // 488 x 2048, then 512 and 64
  EXPECT_EQ(tokenizer.decode(ids), text);
}

TEST(MergeTable, FindsWhatWasInsertedAndNothingElse) {
  Rng rng(3);
  std::map<std::pair<int32_t, int32_t>, int32_t> reference;
  MergeTable table(500);
  for (int32_t rank = 0; rank < 500; ++rank) {
    const std::pair<int32_t, int32_t> pair(static_cast<int32_t>(rng.below(40)), static_cast<int32_t>(rng.below(40)));
    reference.emplace(pair, rank);
    table.insert(pair.first, pair.second, {rank, rank});
  }
  for (int32_t left = 0; left < 40; ++left) {
    for (int32_t right = 0; right < 40; ++right) {
      const auto known = reference.find({left, right});
      EXPECT_EQ(table.find(left, right).rank, known == reference.end() ? -1 : known->second);
    }
  }
}

}  // namespace
}  // namespace aqlm_exp::text
