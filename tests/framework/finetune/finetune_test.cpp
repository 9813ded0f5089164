#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/finetune/block_finetuner.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::finetune {
namespace {

struct Linear {
  at::Tensor weight = test::gaussian({4, 4}, 1);
  BlockTask task(int64_t num_samples) {
    BlockTask out;
    out.inputs = test::gaussian({num_samples, 3, 4}, 2);
    out.targets = at::matmul(out.inputs, test::gaussian({4, 4}, 3));
    out.forward = [this](const at::Tensor& x) { return at::matmul(x, weight); };
    out.parameters = {weight};
    out.name = "test";
    return out;
  }
};

TEST(BlockMse, LowersTheLossAndLeavesNoGradients) {
  Linear linear;
  const BlockTask task = linear.task(8);
  Rng rng(1);
  const auto tuner = test::build(block_finetuners(), R"({"type":"block_mse","epochs":20,"batch_size":2,"lr":0.05})");
  const BlockReport report = tuner->finetune(task, rng);
  EXPECT_LT(report.loss_after, 0.5 * report.loss_before);
  EXPECT_EQ(report.num_epochs, 20);
  EXPECT_FALSE(linear.weight.requires_grad());
  EXPECT_FALSE(linear.weight.grad().defined());
}

TEST(BlockMse, MicroBatchesDoNotChangeTheResult) {
  Linear whole, split;
  Rng first(1), second(1);
  test::build(block_finetuners(), R"({"type":"block_mse","epochs":2,"batch_size":4,"lr":0.01})")
      ->finetune(whole.task(8), first);
  test::build(block_finetuners(), R"({"type":"block_mse","epochs":2,"batch_size":4,"micro_batch_size":1,"lr":0.01})")
      ->finetune(split.task(8), second);
  EXPECT_TRUE(at::allclose(whole.weight, split.weight, 1e-4, 1e-5));
}

TEST(BlockMse, ValidationStopsEarlyAndRestoresTheBest) {
  Linear linear;
  const BlockTask task = linear.task(6);
  Rng rng(1);
  // A rate this large overshoots: no epoch is better than the start, so training stops and the start comes back.
  const at::Tensor before = linear.weight.clone();
  const auto tuner = test::build(
      block_finetuners(),
      R"({"type":"block_mse","epochs":50,"batch_size":1,"lr":100.0,"validation_samples":2,"early_stop":2})");
  const BlockReport report = tuner->finetune(task, rng);
  EXPECT_EQ(report.num_epochs, 2);
  EXPECT_TRUE(linear.weight.equal(before));
  EXPECT_EQ(report.loss_after, report.loss_before);
}

TEST(BlockMse, RefusesToHoldOutEverySample) {
  Linear linear;
  Rng rng(1);
  const auto tuner = test::build(block_finetuners(), R"({"type":"block_mse","validation_samples":4})");
  EXPECT_THROW(tuner->finetune(linear.task(4), rng), DataError);
}

TEST(BlockMse, ReportsALossThatIsNotFinite) {
  Linear linear;
  BlockTask task = linear.task(4);
  task.targets.fill_(std::numeric_limits<float>::infinity());
  Rng rng(1);
  EXPECT_THROW(test::build(block_finetuners(), R"({"type":"block_mse","epochs":1})")->finetune(task, rng),
               NumericalError);
}

}  // namespace
}  // namespace aqlm_exp::finetune
