// Runs the fuzz targets over their corpora, and over cut and spliced forms of each input, without libFuzzer.
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "tests/fuzz/config/targets.h"

namespace aqlm_exp::config::fuzz {
namespace {

using Target = void (*)(const uint8_t*, size_t);

std::vector<std::string> corpus(const std::string& name) {
  std::vector<std::string> out;
  const std::filesystem::path folder = std::string(AQLM_EXP_SOURCE_DIR) + "/tests/fuzz/config/corpus/" + name;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    std::stringstream text;
    text << in.rdbuf();
    out.push_back(text.str());
  }
  std::sort(out.begin(), out.end());
  return out;
}

void run(Target target, const std::string& input) {
  target(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

/// Each seed, then `num_mutants` cut, spliced and altered ones; a promise that breaks aborts the test program.
void replay(const std::string& name, Target target, int num_mutants) {
  const std::vector<std::string> seeds = corpus(name);
  ASSERT_GE(seeds.size(), 8u);
  for (const std::string& seed : seeds) run(target, seed);
  Rng rng(17);
  for (int i = 0; i < num_mutants; ++i) {
    std::string input = seeds[rng.below(seeds.size())];
    const std::string& other = seeds[rng.below(seeds.size())];
    switch (rng.below(4)) {
      case 0:
        input.resize(rng.below(input.size() + 1));
        break;
      case 1:
        if (!other.empty())
          input.insert(rng.below(input.size() + 1), other.substr(rng.below(other.size()), 1 + rng.below(8)));
        break;
      case 2:
        if (!input.empty()) input.erase(rng.below(input.size()), 1 + rng.below(3));
        break;
      default:
        if (!input.empty()) input[rng.below(input.size())] = "{}[]:,\"'$&*!|>#@=\\ \n\t-0aé~+?"[rng.below(28)];
    }
    const std::clock_t start = std::clock();  // processor time: the machine may be busy
    run(target, input);
    ASSERT_LT(std::clock() - start, 2 * CLOCKS_PER_SEC) << input;
  }
}

TEST(FuzzReplay, Yaml) { replay("yaml", yaml, 2000); }
TEST(FuzzReplay, Overrides) { replay("overrides", overrides, 5000); }
TEST(FuzzReplay, Interpolation) { replay("interpolation", interpolation, 1000); }
TEST(FuzzReplay, Composition) { replay("composition", composition, 300); }

}  // namespace
}  // namespace aqlm_exp::config::fuzz
