#include "framework/generate/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "framework/base/error.h"

namespace aqlm_exp::generate {
namespace {

TEST(SamplingOptions, OutOfRangeValuesAreRefusedByName) {
  const auto refused = [](const SamplingOptions& options, const char* name) {
    try {
      sample_params(options);
      ADD_FAILURE() << name << " was taken";
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
  };
  refused({.temperature = -1}, "temperature");
  refused({.temperature = std::numeric_limits<double>::infinity()}, "temperature");
  refused({.top_k = -1}, "top-k");
  refused({.top_p = 1.5}, "top-p");
  refused({.min_p = -0.1}, "min-p");
  refused({.repetition_penalty = 0}, "repetition penalty");
}

TEST(SamplingOptions, AreDescribedByWhatIsInForce) {
  EXPECT_EQ(describe(SamplingOptions::greedy()), "greedy");
  EXPECT_EQ(describe({.temperature = 0.7, .top_k = 50, .top_p = 0.9, .seed = 3}),
            "temperature 0.7, top-k 50, top-p 0.9, seed 3");
}

TEST(Sampler, SameSeedSameTokens) {
  Sampler a({.temperature = 1.0, .seed = 4}, 100), b({.temperature = 1.0, .seed = 4}, 100),
      c({.temperature = 1.0, .seed = 5}, 100);
  std::vector<int32_t> of_a, of_b, of_c;
  for (int i = 0; i < 20; ++i) {
    std::vector<float> logits(100, 0.0F);
    of_a.push_back(a.choose(logits));
    of_b.push_back(b.choose(logits));
    of_c.push_back(c.choose(logits));
  }
  EXPECT_EQ(of_a, of_b);
  EXPECT_NE(of_a, of_c);
}

TEST(Sampler, PenaltyCountsPromptAndAnswer) {
  SamplingOptions options = SamplingOptions::greedy();
  options.repetition_penalty = 2;
  Sampler sampler(options, 3);
  const std::vector<int32_t> prompt = {2};
  sampler.note(prompt);
  std::vector<int32_t> chosen;
  for (int i = 0; i < 3; ++i) {
    std::vector<float> logits = {1.5F, 2.0F, 3.5F};
    chosen.push_back(sampler.choose(logits));
  }
  // 3.5 / 2 < 2; then 2 / 2 < 1.75; then 1.75 again.
  EXPECT_EQ(chosen, (std::vector<int32_t>{1, 2, 2}));
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  Sampler sampler({}, 2);
  std::vector<float> logits(2, std::nanf(""));
  EXPECT_THROW(sampler.choose(logits), NumericalError);
}

}  // namespace
}  // namespace aqlm_exp::generate
