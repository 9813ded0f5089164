#include "framework/trial/loss_series.h"

#include <gtest/gtest.h>

namespace aqlm_exp::trial {
namespace {

using Of = method::LossCurve::Of;

TEST(LossSeries, AreTheMeanOverLinearsAndTheEpochsOfAllBlocks) {
  results::TrialRecord record;
  file_losses(record, {{Of::kQuantiser, "a", {4, 2, 1}},
                       {Of::kQuantiser, "b", {10, 5}},  // finished earlier: 0.5 from there on
                       {Of::kQuantiser, "c", {0}},      // all weights equal: nothing to lower
                       {Of::kFinetuner, "block 0", {3, 2}},
                       {Of::kFinetuner, "block 1", {7, 6}}});
  ASSERT_EQ(record.series.size(), 2u);
  EXPECT_EQ(record.series[0].name, "quantiser_loss");
  EXPECT_EQ(record.series[0].step, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(record.series[0].value, (std::vector<double>{1, 0.5, 0.375}));
  EXPECT_EQ(record.series[1].name, "finetuner_loss");
  EXPECT_EQ(record.series[1].step, (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(record.series[1].value, (std::vector<double>{3, 2, 7, 6}));
}

TEST(LossSeries, MethodsWithoutLossesHaveNone) {
  results::TrialRecord record;
  file_losses(record, {});
  file_losses(record, {{Of::kQuantiser, "a", {0, 0}}});
  EXPECT_TRUE(record.series.empty());
}

}  // namespace
}  // namespace aqlm_exp::trial
