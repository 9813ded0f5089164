#include "framework/plan/build_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "framework/config/reader.h"
#include "framework/plan/device_pool.h"
#include "framework/plan/settings.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::plan {
namespace {

config::Object sample_schema() {
  return config::describe([](config::Reader& in) {
    in.number("lr", {.fallback = 0.1, .min = 0.0, .doc = "rate"});
    in.integer("log_every", {.fallback = 1, .doc = "lines", .identity = false});
    in.path("input", {.fallback = "", .doc = "a file"});
  });
}

class BuildPlan : public testing::Test {
 protected:
  BuildPlan() { ::setenv("XDG_CACHE_HOME", (dir_.path() / "cache").c_str(), 1); }

  Plan plan_of(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
    const std::filesystem::path file = dir_.path() / "s.yaml";
    std::ofstream(file) << yaml;
    sweep_ = config::expand_sweep({.file = file, .overrides = overrides, .roots = {}});
    schema_ = sample_schema();
    PlanRequest request;
    request.sweep = &sweep_;
    request.schema = &schema_;
    request.paths = {.working_directory = dir_.path(), .builtin_root = dir_.path()};
    request.config_file = file;
    return build_plan(request);
  }

  TempDir dir_;
  config::Sweep sweep_;
  config::Object schema_;
};

TEST_F(BuildPlan, EqualNumbersAreOneTrialHoweverTheyAreWritten) {
  EXPECT_EQ(plan_of("lr: 1\n").trials.at(0).id, plan_of("lr: 1.0\n").trials.at(0).id);
  EXPECT_EQ(plan_of("lr: 0.1\n").trials.at(0).id, plan_of("{}\n").trials.at(0).id) << "a fallback written out";
  EXPECT_NE(plan_of("lr: 1\n").trials.at(0).id, plan_of("lr: 2\n").trials.at(0).id);
}

TEST_F(BuildPlan, KeysOutsideTheIdentityMergeTrials) {
  const Plan plan = plan_of("lr: 1\nlog_every: 1\n", {"log_every=1,2,3", "lr=1,2"});
  EXPECT_EQ(plan.trials.size(), 2u);
  EXPECT_EQ(plan.num_merged, 4);
}

TEST_F(BuildPlan, AFaultOfASharedFileIsReportedOnce) {
  try {
    plan_of("lr: -1\nlog_every: 1\n", {"log_every=1,2,3"});
    FAIL();
  } catch (const config::CompositionError& error) {
    EXPECT_EQ(error.problems().size(), 1u);
    EXPECT_EQ(error.problems().front().path, "lr");
  }
}

TEST_F(BuildPlan, ContentsOfAnInputNameTheTrialItsPlaceDoesNot) {
  std::ofstream(dir_.path() / "a.txt") << "text";
  std::ofstream(dir_.path() / "b.txt") << "text";
  const Plan a = plan_of("input: a.txt\n");
  const Plan b = plan_of("input: b.txt\n");
  EXPECT_EQ(a.trials.at(0).id, b.trials.at(0).id);
  check_inputs(b.trials[0]);
  std::ofstream(dir_.path() / "b.txt") << "another text";
  EXPECT_NE(plan_of("input: b.txt\n").trials.at(0).id, a.trials[0].id);
  try {
    check_inputs(b.trials[0]);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_EQ(error.code(), "T-CHANGED");
  }
}

TEST_F(BuildPlan, AMissingInputNamesKeyAndPlace) {
  try {
    plan_of("input: absent.txt\n");
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("s.yaml:1:8"));
    EXPECT_THAT(error.what(), testing::HasSubstr("input"));
  }
}

TEST_F(BuildPlan, RepeatsAreTrialsOfTheirOwn) {
  const Plan plan = plan_of("lr: 1\nexp: {sweep: {repeat: 3}}\n");
  ASSERT_EQ(plan.trials.size(), 3u);
  EXPECT_NE(plan.trials[0].id, plan.trials[1].id);
}

TEST(ReadExp, FillsInAndRefuses) {
  std::vector<config::Problem> problems;
  const auto read = [&](const char* json) { return read_exp(config::from_json(json, "exp"), problems); };
  EXPECT_EQ(read("{}").launcher.workers, 1);
  EXPECT_EQ(read(R"({"launcher":"local","sweep":{"anything":1}})").launcher.type, "local");
  EXPECT_EQ(read(R"({"report":{"budgets":[4,2.5]}})").budgets, (std::vector<double>{2.5, 4}));
  EXPECT_EQ(read(R"({"launcher":{"devices":[0,1]}})").launcher.devices, (std::vector<std::string>{"0", "1"}));
  EXPECT_TRUE(problems.empty());
  read(R"({"launcher":{"worker":2}})");
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].path, "exp.launcher.worker");
  problems.clear();
  read(R"({"launcher":"mpi"})");
  EXPECT_EQ(problems.size(), 1u);
  problems.clear();
  read(R"({"report":{"budgets":["many"]}})");
  EXPECT_EQ(problems.size(), 1u);
}

TEST(DevicePool, TwoSweepsNeverShareADevice) {
  TempDir dir;
  ::setenv("XDG_RUNTIME_DIR", dir.path().c_str(), 1);
  DevicePool first({"0", "1"}), second({"1", "0"});
  const int a = first.acquire(), b = second.acquire();
  ASSERT_GE(a, 0);
  ASSERT_GE(b, 0);
  EXPECT_NE(first.name(a), second.name(b));
  EXPECT_EQ(first.acquire(), -1);
  EXPECT_EQ(second.acquire(), -1);
  first.release(a);
  EXPECT_GE(second.acquire(), 0);
  EXPECT_FALSE(DevicePool({}).limits());
}

TEST(DevicePool, TwoFailuresInARowEndADevice) {
  TempDir dir;
  ::setenv("XDG_RUNTIME_DIR", dir.path().c_str(), 1);
  DevicePool pool({"0", "1"});
  const int slot = pool.acquire();
  EXPECT_FALSE(pool.report(slot, true));
  EXPECT_FALSE(pool.report(slot, false)) << "a good trial between them";
  EXPECT_FALSE(pool.report(slot, true));
  EXPECT_TRUE(pool.report(slot, true));
  pool.release(slot);
  const int other = pool.acquire();
  EXPECT_NE(pool.name(other), pool.name(slot));
  EXPECT_EQ(pool.acquire(), -1);
  EXPECT_FALSE(pool.exhausted());
  pool.report(other, true);
  pool.report(other, true);
  EXPECT_TRUE(pool.exhausted());
}

}  // namespace
}  // namespace aqlm_exp::plan
