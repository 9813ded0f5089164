#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "tests/framework/backend/weights.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::backend {
namespace {

const Candidate& row(const Choice& choice, const std::string& name) {
  for (const Candidate& candidate : choice.candidates) {
    if (candidate.name.starts_with(name)) return candidate;
  }
  ADD_FAILURE() << "no candidate " << name;
  return choice.candidates.front();
}

TEST(AutoBackend, ChoosesTheFastestOfTheRightOnes) {
  const auto backend = make_backend("auto", R"(,"repeats":3)");
  const WeightPtr weight = random_additive({2, 8, 8, 1}, 512, 512);
  const at::Tensor bias = test::gaussian({512}, 1);
  const auto op = backend->prepare(weight, bias);
  const std::vector<Choice> choices = backend->choices();
  ASSERT_EQ(choices.size(), 1u);
  const Choice& choice = choices[0];
  EXPECT_EQ(choice.num_layers, 1);
  EXPECT_EQ(choice.out_features, 512);
  EXPECT_EQ(choice.format, "aqlm 2x8 g8");
  double best = 1e30;
  std::string name;
  for (const Candidate& candidate : choice.candidates) {
    EXPECT_GT(candidate.time_us, 0) << candidate.name;
    EXPECT_GT(candidate.resident_bytes, 0) << candidate.name;
    EXPECT_LE(candidate.rel_error, choice.tolerance) << candidate.name;
    if (candidate.name != "dense" && candidate.time_us < best) best = candidate.time_us, name = candidate.name;
  }
  EXPECT_EQ(row(choice, name).verdict, "chosen");
  EXPECT_EQ(row(choice, "dense").verdict, "for comparison");
  EXPECT_TRUE(name.ends_with(op->kernel())) << name << " " << op->kernel();
  for (const int64_t tokens : {1, 7, 70}) {
    EXPECT_LE(worst_error(*op, *weight, bias, test::gaussian({tokens, 512}, 2)), choice.tolerance);
  }
}

TEST(AutoBackend, DecidesOnceForLayersOfOneShape) {
  const auto backend = make_backend("auto", R"(,"repeats":1)");
  for (int i = 0; i < 3; ++i) backend->prepare(random_additive({2, 8, 8, 1}, 64, 64), {});
  backend->prepare(random_additive({2, 8, 8, 1}, 128, 64), {});
  backend->prepare(random_additive({2, 8, 8, 1}, 128, 64), {}, {.batch = 4});
  const auto choices = backend->choices();
  ASSERT_EQ(choices.size(), 3u);
  int64_t layers = 0;
  for (const Choice& choice : choices) layers += choice.num_layers;
  EXPECT_EQ(layers, 5);
}

TEST(AutoBackend, ThrowsOutKernelsWhoseAnswerIsWrong) {
  // int16 tables err by about 7e-4 where the CPU has them: with this tolerance only float32 arithmetic may pass.
  const auto backend = make_backend("auto", R"(,"repeats":1,"tolerance":1e-5)");
  const WeightPtr weight = random_additive({2, 8, 8, 1}, 64, 256);
  const auto op = backend->prepare(weight, {});
  for (const Candidate& candidate : backend->choices()[0].candidates) {
    EXPECT_EQ(candidate.verdict == "inexact", candidate.rel_error > 1e-5) << candidate.name;
    EXPECT_EQ(candidate.verdict == "inexact", candidate.time_us == 0) << candidate.name;
  }
  EXPECT_LE(worst_error(*op, *weight, {}, test::gaussian({2, 256}, 3)), 1e-5);
}

TEST(AutoBackend, SaysWhyNothingFits) {
  const auto backend = make_backend("auto", R"(,"repeats":1,"tolerance":0)");
  try {
    backend->prepare(random_additive({2, 8, 8, 1}, 64, 256), {});
    FAIL() << "nothing is exact";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("cpu_lut"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("inexact"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("backend=dense"));
  }
}

TEST(AutoBackend, RunsSchemesWithoutAKernelOfTheirOwn) {
  const auto backend = make_backend("auto", R"(,"repeats":1)");
  const WeightPtr weight = random_scalar({8, 64}, 64, 128);
  const auto op = backend->prepare(weight, {});
  EXPECT_EQ(op->kernel(), "dequantise");
  EXPECT_THAT(row(backend->choices()[0], "cpu").verdict, ::testing::HasSubstr("no kernel for 8 bits"));
}

TEST(AutoBackend, GivesTheSameLongPromptsWhicheverKernelWon) {
  const WeightPtr weight = random_additive({2, 8, 8, 1}, 256, 256);
  const at::Tensor x = test::gaussian({100, 256}, 4);
  const at::Tensor fixed = make_backend("cpu_lut")->prepare(weight, {})->forward(x);
  EXPECT_TRUE(make_backend("auto", R"(,"repeats":1)")->prepare(weight, {})->forward(x).equal(fixed));
  EXPECT_TRUE(make_backend("auto", R"(,"repeats":1,"allow_dense":true)")->prepare(weight, {})->forward(x).equal(fixed));
}

}  // namespace
}  // namespace aqlm_exp::backend
