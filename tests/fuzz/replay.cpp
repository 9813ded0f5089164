// Runs a fuzz target over its corpus and over fixed mutations of it, without libFuzzer: any compiler can.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "tests/fuzz/mutate_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace aqlm_exp {
namespace {

std::vector<std::string> corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(AQLM_EXP_CORPUS)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const auto& path : paths) {
    std::ifstream in(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return inputs;
}

int run(const std::string& input) {
  return LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

TEST(Replay, EveryInputOfTheCorpusEndsInAResultOrADataError) {
  const std::vector<std::string> inputs = corpus();
  ASSERT_GE(inputs.size(), 10u);
  for (const std::string& input : inputs) EXPECT_EQ(run(input), 0);
}

TEST(Replay, SoDoMutatedInputs) {
  const std::vector<std::string> inputs = corpus();
  Rng rng(29);
  for (int round = 0; round < 2000; ++round) {
    std::string input = inputs[rng.below(inputs.size())];
    if (round % 2 == 0) {
      input = fuzz::mutate_input(input, rng);
    } else {
      for (uint64_t edits = 1 + rng.below(4); edits > 0 && !input.empty(); --edits) {
        input[rng.below(input.size())] = static_cast<char>(rng.below(256));
      }
    }
    EXPECT_EQ(run(input), 0);
  }
}

}  // namespace
}  // namespace aqlm_exp
