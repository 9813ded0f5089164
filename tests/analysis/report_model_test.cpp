#include "analysis/report_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "analysis/report_table.h"
#include "tests/analysis/sample_sweep.h"

namespace aqlm_exp::analysis {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const Entry& best_of(const Group& group, size_t budget) {
  return group.entries[group.budgets[budget].standings.front().entry];
}

TEST(BuildReport, RanksEachBudgetAndTellsTiesFromDifferences) {
  const Dataset data = sample_sweep();
  const Report report = build_report(data);
  ASSERT_EQ(report.groups.size(), 1u);
  const Group& group = report.groups[0];
  ASSERT_EQ(group.budgets.size(), 3u);
  EXPECT_EQ(best_of(group, 0).title, "AQLM 2x7 g8");
  EXPECT_EQ(group.budgets[0].standings[1].verdict, Verdict::kWorse);
  EXPECT_TRUE(group.budgets[0].ties().empty());
  EXPECT_EQ(group.budgets[1].ties().size(), 1u) << "0.174 and 0.176 with noise 0.02 over 12 windows";
  EXPECT_EQ(best_of(group, 2).title, "GPTQ 4 bits");
  EXPECT_EQ(group.budgets[2].standings[1].verdict, Verdict::kWorse);
  ASSERT_TRUE(group.baseline);
  EXPECT_EQ(group.entries[*group.baseline].method, "none");
}

TEST(BuildReport, HeadlineSaysWhichByHowMuchAndWhetherItIsReal) {
  const Dataset data = sample_sweep();
  const Report report = build_report(data);
  const Group& group = report.groups[0];
  const Headline two = headline(report, group, group.budgets[0]), three = headline(report, group, group.budgets[1]);
  EXPECT_EQ(two.badge, "clear");
  EXPECT_EQ(two.best, "AQLM 2x7 g8");
  EXPECT_THAT(two.reason, HasSubstr("next method: GPTQ 2 bits"));
  EXPECT_THAT(two.bits, HasSubstr("2.09 bits audited, 2.00 nominal"));
  EXPECT_EQ(two.command, "aqlm-exp run a.yaml method=aqlm");
  EXPECT_EQ(three.badge, "tie");
  EXPECT_THAT(three.best, HasSubstr(" and "));
  EXPECT_THAT(three.reason, HasSubstr("may be chance"));
}

TEST(BuildReport, ConventionsHardwareAndBuildsAreNeverRankedTogether) {
  const SampleTrial base{.method = "aqlm"};
  SampleTrial build = base, hardware = base, convention = base;
  build.build = "build-2";
  hardware.hardware = "cpu-b";
  convention.convention = "sliding";
  const Dataset data = sample_dataset({base, build, hardware, convention});
  EXPECT_EQ(build_report(data).groups.size(), 4u);
  EXPECT_EQ(build_report(data, {.allow_mixed_hardware = true}).groups.size(), 3u);
  EXPECT_EQ(build_report(data, {.allow_mixed_hardware = true, .allow_mixed_builds = true}).groups.size(), 2u);
  EXPECT_THAT(build_report(data).notes, testing::Contains(HasSubstr("2 builds")));
  EXPECT_THAT(build_report(data).notes, testing::Contains(HasSubstr("2 kinds of hardware")));
}

TEST(BuildReport, NamesTheConventionOnce) {
  Dataset data = sample_dataset({{.method = "aqlm"}});
  for (results::Metric& metric : data.rows[0].record->metrics) {
    if (metric.name == "ppl") metric.description = "gptq-1024: windows of 1024 tokens";
  }
  EXPECT_THAT(build_report(data).groups[0].subtitle(), HasSubstr("perplexity by gptq-1024 (windows of 1024 tokens)"));
}

TEST(BuildReport, AnotherTextUnderTheSameConventionIsAnotherGroup) {
  Dataset data = sample_dataset({{.method = "aqlm"}, {.method = "gptq", .setting = "2 bits"}});
  EXPECT_EQ(build_report(data).groups.size(), 1u);
  for (auto& [key, value] : data.rows[1].record->provenance) {
    if (key == "eval/ids_sha256") value = std::string("text-2");
  }
  EXPECT_EQ(build_report(data).groups.size(), 2u);
}

TEST(BuildReport, SeedsAndRepeatsAreOneConfigurationWithMedianAndRange) {
  const Dataset data = sample_dataset({{.method = "aqlm", .seed = 0},
                                       {.method = "aqlm", .seed = 1},
                                       {.method = "aqlm", .seed = 1, .repeat = 1},
                                       {.method = "gptq", .setting = "2 bits", .kl = 1.3}});
  const Report report = build_report(data);
  ASSERT_EQ(report.groups[0].entries.size(), 2u);
  const Entry& entry = report.groups[0].entries[0];
  EXPECT_EQ(entry.trials.size(), 3u);
  const Measured& kl = *entry.find("kl");
  EXPECT_EQ(kl.n, 3);
  EXPECT_LE(kl.low, kl.value);
  EXPECT_LE(kl.value, kl.high);
  EXPECT_LT(kl.low, kl.high);
}

TEST(BuildReport, WithoutWindowValuesItSaysThatItCannotTell) {
  Dataset data = sample_dataset({{.method = "aqlm"}, {.method = "gptq", .setting = "2 bits", .kl = 1.3}});
  for (TrialRow& row : data.rows) row.record->samples.clear();
  const Report report = build_report(data);
  const Group& group = report.groups[0];
  EXPECT_EQ(group.budgets[0].standings[1].verdict, Verdict::kUnknown);
  EXPECT_EQ(headline(report, group, group.budgets[0]).badge, "not known");
}

TEST(BuildReport, NanIsListedAndNeverBest) {
  Dataset data = sample_dataset({{.method = "aqlm"}, {.method = "gptq", .setting = "2 bits", .kl = 1.3}});
  for (results::Metric& metric : data.rows[0].record->metrics) {
    if (metric.name == "kl" || metric.name == "ppl") metric.value = std::nan("");
  }
  const Report report = build_report(data);
  const Group& group = report.groups[0];
  EXPECT_EQ(best_of(group, 0).method, "gptq");
  EXPECT_EQ(group.budgets[0].standings[1].verdict, Verdict::kWorse);
  const MainTable table = main_table(report, group);
  bool shown = false;
  for (const ReportCell& cell : table.rows.back().cells) shown = shown || cell.text == "NaN";
  EXPECT_TRUE(shown);
}

TEST(BuildReport, FailuresAndPlannedTrialsAreCounted) {
  Dataset data = sample_sweep();
  data.rows.push_back(sample_failure());
  TrialRow planned = sample_failure("x");
  planned.status = "planned";
  data.rows.push_back(planned);
  const Report report = build_report(data);
  EXPECT_EQ(report.num_completed, 8u);
  EXPECT_EQ(report.num_planned, 1u);
  EXPECT_THAT(report.failures, ElementsAre(8u));
}

TEST(BuildReport, AnEmptyDatasetIsNoTrouble) {
  const Dataset data;
  EXPECT_TRUE(build_report(data).groups.empty());
}

TEST(ParetoFront, MatchesBruteForce) {
  Rng rng(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<double> x, y;
    const auto size = rng.below(12) + 1;
    for (uint64_t i = 0; i < size; ++i) {
      x.push_back(static_cast<double>(rng.below(5)));
      y.push_back(static_cast<double>(rng.below(5)));
    }
    for (const bool higher : {false, true}) {
      const std::vector<bool> front = pareto_front(x, y, higher);
      for (size_t i = 0; i < size; ++i) {
        bool dominated = false;
        for (size_t j = 0; j < size; ++j) {
          const double xi = higher ? -x[i] : x[i], xj = higher ? -x[j] : x[j];
          dominated = dominated || (xj <= xi && y[j] <= y[i] && (xj < xi || y[j] < y[i]));
        }
        EXPECT_EQ(front[i], !dominated);
      }
    }
  }
  EXPECT_THAT(pareto_front({1, std::nan("")}, {1, 0}, false), ElementsAre(true, false));
}

}  // namespace
}  // namespace aqlm_exp::analysis
