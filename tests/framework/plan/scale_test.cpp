// 10,000 published trials: scanning and merging them stay within their budgets of time and memory (issue 6).
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <ctime>

#include "framework/base/timer.h"
#include "framework/plan/scan.h"
#include "framework/results/library.h"
#include "framework/results/merge.h"
#include "framework/results/publish.h"
#include "tests/framework/plan/synthetic_plan.h"
#include "tests/framework/results/sample_record.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::plan {
namespace {

constexpr int kNumTrials = 10'000;
// Of CPU time: what else the machine does is not the test's subject.
constexpr double kScanBudgetS = 10;
constexpr double kMergeBudgetS = 30;
constexpr double kMemoryBudgetMib = 1024;

double cpu_s() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

double peak_mib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

TEST(Scale, TenThousandTrialsAreScannedAndMergedInTime) {
  results::keep_freed_memory();  // as the driver does
  TempDir dir;
  const OutFolder out{dir.path()};
  std::vector<std::string> jobs(kNumTrials, "{}");
  Stopwatch watch;
  Plan plan = synthetic_plan(jobs);
  results::make_folders(out.results_dir());
  for (const PlannedTrial& trial : plan.trials) {
    results::TrialRecord record = results::sample_record("x");
    record.id = trial.id;
    record.name = trial.name;
    record.overrides = trial.overrides;
    results::publish(record, out.results_dir());
    std::filesystem::create_directories(out.attempt_dir(trial.id, 1));
  }
  fmt::print("published {} trials in {:.1f} s\n", kNumTrials, watch.elapsed_s());
  watch.restart();
  double start = cpu_s();
  results::put_file(out.plan_file(), plan_text(plan), results::IfPresent::kFail);
  const Prepared prepared = prepare(plan, out, {});
  const double scan_s = watch.elapsed_s(), scan_cpu_s = cpu_s() - start;
  EXPECT_EQ(prepared.scan.count(TrialState::Kind::kCompleted), kNumTrials);
  EXPECT_LT(scan_cpu_s, kScanBudgetS);
  watch.restart();
  start = cpu_s();
  results::MergeRequest request;
  request.results_dir = out.results_dir();
  request.target = out.merged_file();
  request.plan_json = results::read_file(out.plan_file());
  for (size_t i = 0; i < plan.trials.size(); ++i) {
    const PlannedTrial& trial = plan.trials[i];
    request.rows.push_back({.id = trial.id,
                            .name = trial.name,
                            .repeat = 0,
                            .overrides = trial.overrides,
                            .sidecar = prepared.scan.trials[i].sidecar});
  }
  EXPECT_EQ(results::merge(request).num_copied, kNumTrials);
  const double merge_s = watch.elapsed_s(), merge_cpu_s = cpu_s() - start;
  EXPECT_LT(merge_cpu_s, kMergeBudgetS);
  EXPECT_LT(peak_mib(), kMemoryBudgetMib);
  fmt::print(
      "plan and resume scan {:.2f} s ({:.2f} of CPU time), merge {:.2f} s ({:.2f}), {} MiB in the merged file, peak "
      "memory {:.0f} MiB\n",
      scan_s, scan_cpu_s, merge_s, merge_cpu_s, std::filesystem::file_size(out.merged_file()) >> 20, peak_mib());
}

}  // namespace
}  // namespace aqlm_exp::plan
