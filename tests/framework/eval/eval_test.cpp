#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "framework/base/error.h"
#include "framework/eval/evaluate.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::eval {
namespace {

std::vector<int32_t> some_ids(int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * 17 % 50));
  return ids;
}

/// The same model with noise on one layer: stands for a quantised one.
model::Model disturbed(const model::Model& model, double noise) {
  model::Model copy = model.clone();
  auto& linear = copy.blocks[1].down_proj;
  linear.weight =
      std::make_shared<quant::DenseWeight>(linear.weight->dequantise() + noise * test::gaussian({32, 64}, 99));
  return copy;
}

TEST(Windows, DropTheTailAndRespectTheLimit) {
  Convention convention{.seq_len = 10, .stride = 10, .max_windows = 0};
  EXPECT_EQ(window_starts(convention, 35), (std::vector<int64_t>{0, 10, 20}));
  EXPECT_EQ(window_starts(convention, 30), (std::vector<int64_t>{0, 10, 20}));
  convention.max_windows = 2;
  EXPECT_EQ(window_starts(convention, 35), (std::vector<int64_t>{0, 10}));
  EXPECT_THROW(window_starts(convention, 9), DataError);
}

TEST(Convention, TagNamesWhatMakesNumbersDiffer) {
  EXPECT_EQ((Convention{.seq_len = 1024, .stride = 1024, .max_windows = 0}).tag(), "gptq-1024");
  EXPECT_EQ((Convention{.seq_len = 1024, .stride = 1024, .max_windows = 8}).tag(), "gptq-1024 first-8");
}

TEST(Evaluate, MatchesLossAndKlWrittenOut) {
  const c10::NoGradGuard no_grad;
  const model::Model original = test::tiny_model(1);
  const model::Model model = disturbed(original, 0.05);
  const Convention convention{.seq_len = 12, .stride = 12, .max_windows = 0};
  const std::vector<at::Tensor> windows = make_windows(some_ids(40), convention, at::kCPU);
  const auto reference = logits_from_model(original);
  const Evaluation result = evaluate(model, windows, reference.get());

  double loss_sum = 0, kl_sum = 0, agree = 0;
  for (const at::Tensor& ids : windows) {
    const at::Tensor q = model.forward(ids.unsqueeze(0)).squeeze(0).to(at::kDouble);
    const at::Tensor p = original.forward(ids.unsqueeze(0)).squeeze(0).to(at::kDouble);
    double window_loss = 0, window_kl = 0;
    for (int64_t t = 0; t < 12; ++t) {
      const double q_norm = q[t].logsumexp(0).item<double>(), p_norm = p[t].logsumexp(0).item<double>();
      for (int64_t v = 0; v < 50; ++v) {
        const double log_p = p[t][v].item<double>() - p_norm, log_q = q[t][v].item<double>() - q_norm;
        window_kl += std::exp(log_p) * (log_p - log_q);
      }
      if (t + 1 < 12) window_loss -= q[t][ids[t + 1].item<int64_t>()].item<double>() - q_norm;
      agree += p[t].argmax().item<int64_t>() == q[t].argmax().item<int64_t>() ? 1 : 0;
    }
    loss_sum += window_loss / 11;
    kl_sum += window_kl / 12;
  }
  EXPECT_EQ(result.num_windows, 3);
  EXPECT_EQ(result.num_scored_tokens, 33);
  EXPECT_NEAR(result.perplexity, std::exp(loss_sum / 3), 1e-4 * result.perplexity);
  EXPECT_NEAR(*result.kl, kl_sum / 3, 1e-5);
  EXPECT_GT(*result.kl, 0.0);
  EXPECT_NEAR(*result.top1_agreement, agree / 36, 1e-12);
}

TEST(Evaluate, AModelAgreesWithItself) {
  const model::Model model = test::tiny_model(2);
  const std::vector<at::Tensor> windows = make_windows(some_ids(20), {.seq_len = 10, .stride = 10}, at::kCPU);
  const auto reference = logits_from_model(model);
  const Evaluation result = evaluate(model, windows, reference.get());
  EXPECT_NEAR(*result.kl, 0.0, 1e-9);
  EXPECT_EQ(*result.top1_agreement, 1.0);
}

TEST(Evaluate, ReportsLogitsThatAreNotFinite) {
  const model::Model model = disturbed(test::tiny_model(2), std::numeric_limits<double>::infinity());
  const std::vector<at::Tensor> windows = make_windows(some_ids(20), {.seq_len = 10, .stride = 10}, at::kCPU);
  EXPECT_THROW(evaluate(model, windows, nullptr), NumericalError);
}

class ReferenceFile : public testing::Test {
 protected:
  void SetUp() override {
    path = std::filesystem::path(AQLM_EXP_BINARY_DIR) / ("logits-test-" + std::to_string(::getpid()));
    windows = make_windows(some_ids(40), {.seq_len = 10, .stride = 10}, at::kCPU);
    set = window_set_of(windows);
  }
  void TearDown() override { std::filesystem::remove(path); }
  std::filesystem::path path;
  std::vector<at::Tensor> windows;
  WindowSet set;
};

TEST_F(ReferenceFile, RoundingBarelyMovesKl) {
  const model::Model original = test::tiny_model(1);
  const model::Model model = disturbed(original, 0.05);
  const auto live = logits_from_model(original);
  write_logits_file(path, "key", *live, set, 50);
  const auto stored = logits_from_file(path, "key", set);
  ASSERT_NE(stored, nullptr);
  const double exact = *evaluate(model, set, live.get()).kl, rounded = *evaluate(model, set, stored.get()).kl;
  EXPECT_NEAR(rounded, exact, 1e-5);
  EXPECT_NE(rounded, exact);
}

TEST_F(ReferenceFile, IsRefusedWhenDamagedOrOfAnotherKey) {
  const model::Model original = test::tiny_model(1);
  EXPECT_EQ(logits_from_file(path, "key", set), nullptr);
  write_logits_file(path, "key", *logits_from_model(original), set, 50);
  EXPECT_THROW(logits_from_file(path, "other", set), DataError);
  EXPECT_THROW(logits_from_file(path, "key", window_set_of({windows.front()})), DataError);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 2);
  EXPECT_THROW(logits_from_file(path, "key", set), DataError);
  std::ofstream(path) << "not logits";
  EXPECT_THROW(logits_from_file(path, "key", set), DataError);
}

}  // namespace
}  // namespace aqlm_exp::eval
