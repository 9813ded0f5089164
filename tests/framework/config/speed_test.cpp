// The bars of issue 4: composing the default sweep takes under 20 ms, 1,000 trials under 1 s, 10,000 under 6 s.
// Measured figures stand in docs/configuration.md; the limits here are the bars themselves.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "tests/framework/config/config_fixture.h"

namespace aqlm_exp::config {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A study like the default sweep: 8 groups, 60 keys, references.
void write_study(const Configs& configs) {
  std::string defaults = "defaults:\n";
  for (const char* group : {"model", "calibration", "method", "codebook", "encoder", "tuner", "eval", "backend"}) {
    defaults += std::string("  - ") + group + ": a\n";
    for (const char* option : {"a", "b", "c"}) {
      std::string body = std::string("type: ") + option + "\n";
      for (int i = 0; i < 6; ++i)
        body += "key_" + std::to_string(i) + ": " + std::to_string(i) + ".5  # a comment on it\n";
      configs.write(std::string(group) + "/" + option, body);
    }
  }
  configs.write(
      "config",
      defaults +
          "  - _self_\nseed: 17\nname: ${model.type}_${method.type}_${seed}\nquant: {nbits: 2, group_size: 128}\n"
          "exp:\n  sweep:\n    params: {method: \"a,b,c\", quant.nbits: \"2,3,4\"}\n");
}

TEST(Speed, DefaultSweepComposesUnderTwentyMilliseconds) {
  const Configs configs;
  write_study(configs);
  double best = 1e9;
  for (int i = 0; i < 5; ++i) best = std::min(best, seconds_of([&] { expand_sweep(configs.request({})); }));
  RecordProperty("milliseconds", std::to_string(best * 1e3));
  EXPECT_LT(best, 0.020);
}

TEST(Speed, AThousandTrialsUnderOneSecondTenThousandUnderSix) {
  const Configs configs;
  write_study(configs);
  ComposeRequest request = configs.request({"seed=range(1000)", "method=a", "quant.nbits=2"});
  const double thousand = seconds_of([&] { EXPECT_EQ(expand_sweep(request).points.size(), 1000u); });
  request.overrides = {"seed=range(10000)", "method=a", "quant.nbits=2"};
  const double ten_thousand = seconds_of([&] { EXPECT_EQ(expand_sweep(request).points.size(), 10000u); });
  std::printf("1,000 trials: %.3f s, 10,000 trials: %.3f s\n", thousand, ten_thousand);
  EXPECT_LT(thousand, 1.0);
  EXPECT_LT(ten_thousand, 6.0);
}

}  // namespace
}  // namespace aqlm_exp::config
