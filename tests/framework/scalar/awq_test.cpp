#include "framework/scalar/awq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "framework/base/error.h"
#include "tests/framework/scalar/fixtures.h"

namespace aqlm_exp::scalar {
namespace {

using testing::inputs;
using testing::weights;

at::Tensor mean_abs(const at::Tensor& x) { return x.abs().mean(0); }

at::Tensor row(const std::vector<float>& values) { return at::tensor(values, at::kFloat).unsqueeze(0); }

/// down(relu(gate x) * up x): the module that the golden file inspects.
ModuleOutput mlp(const at::Tensor& x) {
  const at::Tensor down = weights(43, 64, 48);
  return [x, down](const std::vector<at::Tensor>& w) {
    return (x.matmul(w[0].t()).relu() * x.matmul(w[1].t())).matmul(down.t());
  };
}

TEST(AwqScales, MatchAutoAwq) {
  for (const auto& golden : testing::goldens()["awq"]) {
    SCOPED_TRACE(golden["nbits"].dump() + " bits, duo " + golden["duo"].dump());
    const AwqFormat format{.nbits = golden["nbits"], .group_size = golden["group_size"], .symmetric = golden["sym"]};
    const std::vector<at::Tensor> w{weights(41, 48, 64), weights(42, 48, 64)};
    const at::Tensor x = inputs(51, 600, 64);
    const AwqScales found =
        search_awq_scales(w, {format, format}, mean_abs(x), output_error(mlp(x), w), {.duo_scaling = golden["duo"]});
    EXPECT_LT(testing::relative_diff(found.scales, testing::floats(golden["scales"], {64})), 1e-5);
  }
}

TEST(AwqClip, MatchesAutoAwq) {
  for (const auto& golden : testing::goldens()["awq"]) {
    SCOPED_TRACE(golden["nbits"].dump() + " bits, group " + golden["group_size"].dump());
    const int64_t group_size = golden["group_size"];
    const at::Tensor bounds = search_awq_clip(
        weights(61, 64, 64), {.nbits = golden["nbits"], .group_size = group_size, .symmetric = golden["sym"]},
        inputs(71, 1100, 64).slice(0, 0, 1100, awq_clip_stride(1100, {})), {});
    const at::Tensor expected = testing::floats(golden["clip"], {64, 64 / group_size});
    // A near-tie between two steps (5% apart) may fall the other way under another order of summation.
    EXPECT_LT((bounds / expected - 1).abs().gt(1e-5).to(at::kDouble).mean().item<double>(), 0.01);
  }
}

TEST(AwqScales, ChoosesTheRatioThatBruteForceChooses) {
  const at::Tensor x = inputs(1, 300, 64);
  const std::vector<at::Tensor> w{weights(2, 24, 64), weights(3, 16, 64)};
  const ModuleOutput both = [x](const std::vector<at::Tensor>& v) { return x.matmul(at::cat(v, 0).t()); };
  for (const bool duo : {false, true}) {
    const AwqFormat format{.nbits = 3, .group_size = 32};
    const AwqScales found =
        search_awq_scales(w, {format, format}, mean_abs(x), output_error(both, w), {.duo_scaling = duo});
    ASSERT_EQ(found.errors.size(), 20u);
    double best = INFINITY, best_ratio = -1;
    for (int i = 0; i < 20; ++i) {
      const double r = i / 20.0;
      // Scales and error by hand: doubles, one channel at a time.
      std::vector<double> s(64);
      for (int64_t c = 0; c < 64; ++c) {
        double weight_mean = 0;
        for (const at::Tensor& weight : w) {
          const int64_t first = c / 32 * 32;
          weight_mean += (weight.select(1, c).abs() / (weight.slice(1, first, first + 32).abs().amax(1) + 1e-6))
                             .sum()
                             .item<double>();
        }
        weight_mean /= 40;
        s[c] = std::pow(x.select(1, c).abs().mean().item<double>(), r);
        if (duo) s[c] /= std::pow(weight_mean, 1 - r) + 1e-4;
        s[c] = std::max(s[c], 1e-4);
      }
      const double norm = std::sqrt(*std::max_element(s.begin(), s.end()) * *std::min_element(s.begin(), s.end()));
      for (double& v : s) v /= norm;
      const at::Tensor scales = at::tensor(s, at::kDouble).to(at::kFloat);
      double error = 0;
      for (const at::Tensor& weight : w) {
        const at::Tensor trial =
            rtn(weight * scales, 32, {.kind = GridKind::kAwq, .nbits = 3}).dequantise() / scales;  // float16 scales
        error += x.matmul((trial - weight).t()).square().sum().item<double>() / (300 * 40);
      }
      EXPECT_NEAR(found.errors[i], error, 0.01 * error) << "ratio " << r;
      if (found.errors[i] < best) {
        best = found.errors[i];
        best_ratio = r;
      }
    }
    EXPECT_EQ(found.ratio, best_ratio);
    EXPECT_EQ(found.error, best);
  }
}

TEST(AwqScales, HelpWhenChannelsDifferInSize) {
  at::Tensor x = inputs(4, 400, 64).clone();
  x.select(1, 7).mul_(50);
  const std::vector<at::Tensor> w{weights(5, 32, 64)};
  const ModuleOutput linear = [x](const std::vector<at::Tensor>& v) { return x.matmul(v[0].t()); };
  const AwqScales found =
      search_awq_scales(w, {{.nbits = 3, .group_size = 32}}, mean_abs(x), output_error(linear, w), {});
  EXPECT_LT(found.error, 0.5 * found.errors[0]);  // ratio 0 is plain rounding
  EXPECT_GT(found.scales[7].item<float>(), found.scales.median().item<float>());
}

TEST(AwqScales, ProductOfLargestAndSmallestIsOne) {
  const at::Tensor x = inputs(6, 100, 32);
  for (const bool duo : {false, true}) {
    const at::Tensor scales =
        awq_scales_at(0.65, mean_abs(x), mean_relative_weight({weights(7, 8, 32)}, {{.group_size = 16}}), duo);
    EXPECT_NEAR(scales.max().item<double>() * scales.min().item<double>(), 1, 1e-5);
  }
}

TEST(AwqScales, DeadChannelsStayFinite) {
  at::Tensor x = inputs(8, 100, 32).clone();
  x.select(1, 4).fill_(0);
  at::Tensor weight = weights(9, 8, 32).clone();
  weight.select(1, 4).fill_(0);
  const ModuleOutput linear = [x](const std::vector<at::Tensor>& v) { return x.matmul(v[0].t()); };
  for (const bool duo : {false, true}) {
    const AwqScales found = search_awq_scales({weight}, {{.nbits = 4, .group_size = 16}}, mean_abs(x),
                                              output_error(linear, {weight}), {.duo_scaling = duo});
    EXPECT_TRUE(at::isfinite(found.scales).all().item<bool>());
    EXPECT_GT(found.scales.min().item<double>(), 0);
  }
}

TEST(AwqScales, ADenseLinearOfTheSetIsLeftAsItIs) {
  const at::Tensor x = inputs(8, 100, 32);
  const std::vector<at::Tensor> w{weights(9, 8, 32), weights(10, 8, 32)};
  const OutputError error = [&](const std::vector<at::Tensor>& trial) {
    EXPECT_TRUE(trial[1].equal(w[1]));
    return (trial[0] - w[0]).square().mean().item<double>();
  };
  search_awq_scales(w, {{.nbits = 3, .group_size = 32}, {.group_size = -1, .dense = true}}, mean_abs(x), error, {});
}

TEST(AwqScales, NoFiniteErrorIsAnError) {
  const std::vector<at::Tensor> w{weights(9, 8, 32)};
  const OutputError nan_error = [](const std::vector<at::Tensor>&) { return std::nan(""); };
  EXPECT_THROW(search_awq_scales(w, {{.nbits = 4, .group_size = 16}}, at::ones({32}), nan_error, {}), NumericalError);
}

TEST(AwqClip, TakesTheBoundThatBruteForceTakes) {
  const at::Tensor weight = weights(10, 6, 32), x = inputs(11, 40, 32);
  const at::Tensor bounds = search_awq_clip(weight, {.nbits = 3, .group_size = 16}, x, {});
  int64_t clipped = 0;
  for (int64_t r = 0; r < 6; ++r) {
    for (int64_t g = 0; g < 2; ++g) {
      const at::Tensor w = weight[r].slice(0, 16 * g, 16 * g + 16), part = x.slice(1, 16 * g, 16 * g + 16);
      const float largest = w.abs().max().item<float>();
      double best = INFINITY;
      float best_bound = 0;
      for (int i = 0; i < 10; ++i) {
        const float bound = largest * (1 - static_cast<float>(i) / 20);
        const at::Tensor q =
            pseudo_quantise(w.clamp(-bound, bound).unsqueeze(0), 16, {.kind = GridKind::kAwq, .nbits = 3})[0];
        const double error = part.matmul((q - w).unsqueeze(1)).square().mean().item<double>();
        if (error < best * (1 - 1e-5)) {
          best = error;
          best_bound = bound;
        }
      }
      clipped += best_bound < largest;
      EXPECT_NEAR(bounds[r][g].item<float>(), best_bound, 1e-5 * largest) << r << ", " << g;
    }
  }
  EXPECT_GT(clipped, 0) << "nothing was clipped: the test shows nothing";
}

TEST(AwqClip, ClampsEachGroupToItsOwnBound) {
  const at::Tensor weight = row({1.0f, -3.0f, 2.0f, -2.0f});
  const at::Tensor clipped = clip_groups(weight, row({2.0f, 1.5f}));
  EXPECT_TRUE(clipped.equal(row({1.0f, -2.0f, 1.5f, -1.5f})));
}

TEST(AwqClip, RowsAreSearchedAlikeWhateverTheChunk) {
  const at::Tensor weight = weights(12, 70, 64), x = inputs(13, 600, 64);
  const at::Tensor all = search_awq_clip(weight, {.nbits = 3, .group_size = 32}, x, {});
  for (const int64_t row : {0, 33, 69}) {
    const at::Tensor alone = search_awq_clip(weight.slice(0, row, row + 1), {.nbits = 3, .group_size = 32}, x, {});
    EXPECT_LT(testing::max_abs_diff(alone[0], all[row]), 1e-6);
  }
}

TEST(Awq, RejectsWhatDoesNotFit) {
  EXPECT_THROW(search_awq_clip(weights(1, 4, 48), {.nbits = 4, .group_size = 32}, inputs(1, 8, 48), {}), DataError);
  EXPECT_THROW(search_awq_clip(weights(1, 4, 48), {.nbits = 4, .group_size = 16}, inputs(1, 8, 32), {}), DataError);
  EXPECT_THROW(search_awq_clip(weights(1, 4, 32), {.nbits = 4, .group_size = 16}, at::full({8, 32}, NAN), {}),
               NumericalError);
}

}  // namespace
}  // namespace aqlm_exp::scalar
