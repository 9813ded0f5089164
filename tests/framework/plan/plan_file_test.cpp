#include "framework/plan/plan_file.h"

#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/rng.h"
#include "framework/base/sha256.h"
#include "framework/plan/worker_protocol.h"
#include "framework/results/storage.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::plan {
namespace {

using config::Node;

Plan sample_plan(int num_trials = 3) {
  Plan plan;
  plan.writer = "aqlm-exp test";
  plan.build_id = "b1";
  plan.created_utc = "2026-11-24T12:00:00Z";
  plan.config_file = "configs/a b.yaml";
  plan.arguments = {"run", "configs/a b.yaml", "x=\"1\""};
  plan.files = {{.path = "configs/a b.yaml", .sha256 = std::string(64, '1')}};
  plan.exp = config::from_json(R"({"launcher":{"workers":2}})", "exp");
  for (int i = 0; i < num_trials; ++i) {
    PlannedTrial trial;
    trial.identity = "{\"config\":{\"i\":" + std::to_string(i) + "}}";
    trial.id = sha256_hex(trial.identity);
    trial.name = "i=" + std::to_string(i) + " \"é\"";
    trial.overrides = {"i=" + std::to_string(i)};
    trial.repeat = i;
    trial.tree = config::from_json(R"({"a":{"config":[1,2.5,"x",null,true]},"big":9007199254740993,"t":0.1})", "tree");
    trial.inputs = {{.key = "model.path", .path = "/m", .fingerprint = std::string(64, 'f')}};
    trial.origin = {{.key = "a.config", .file = "f.yaml", .line = 3}};
    plan.trials.push_back(std::move(trial));
  }
  return plan;
}

TEST(PlanFile, ReadsBackWhatWasWritten) {
  const Plan plan = sample_plan();
  const std::string text = plan_text(plan);
  const Plan read = parse_plan(text, "p");
  EXPECT_EQ(plan_text(read), text);
  EXPECT_EQ(read.trials.at(2).tree.at("big")->as_int(), 9007199254740993);
  EXPECT_TRUE(config::same_data(read.trials[1].tree, plan.trials[1].tree));
  EXPECT_EQ(read.arguments, plan.arguments);
}

TEST(PlanFile, OneTrialIsLoadedAlone) {
  TempDir dir;
  const Plan plan = sample_plan(50);
  results::put_file(dir.path() / "sweep.json", plan_text(plan), results::IfPresent::kFail);
  for (const PlannedTrial& trial : plan.trials) {
    const PlannedTrial read = load_trial(dir.path() / "sweep.json", trial.id);
    EXPECT_EQ(read.name, trial.name);
    EXPECT_EQ(read.identity, trial.identity);
    EXPECT_TRUE(config::same_data(read.tree, trial.tree));
  }
  EXPECT_EQ(load_trial(dir.path() / "sweep.json", plan.trials[7].id.substr(0, 16)).repeat, 7);
  EXPECT_THROW(load_trial(dir.path() / "sweep.json", std::string(64, '0')), DataError);
  EXPECT_THROW(load_trial(dir.path() / "sweep.json", ""), DataError);  // begins every id
}

TEST(PlanFile, AnyChangedByteIsFound) {
  const std::string good = plan_text(sample_plan());
  Rng rng(3);
  for (size_t i = 0; i < 2000; ++i) {
    std::string bad = good;
    if (i % 2 == 0) {
      bad[rng.below(bad.size())] ^= static_cast<char>(1 << rng.below(8));
    } else {
      bad.resize(rng.below(bad.size()));
    }
    EXPECT_THROW(parse_plan(bad, "p"), Error) << i;
  }
}

TEST(PlanFile, RefusesTwoTrialsOfOneId) {
  Plan plan = sample_plan(2);
  plan.trials[1].id = plan.trials[0].id.substr(0, 16) + std::string(48, '0');
  EXPECT_THROW(plan_text(plan), InternalError);
}

TEST(ToYaml, QuotesWhatWouldChangeItsType) {
  const Node tree = config::from_json(
      R"({"a":{"b":[1,{"c":"yes"},[]],"e":{}},"s":"1e3","p":"/x/y-z.txt","f":3.0,"n":null,"z":null,"w":"two words","m":"a: b"})",
      "t");
  EXPECT_EQ(to_yaml(tree),
            "a:\n  b:\n    - 1\n    -\n      c: \"yes\"\n    - []\n  e: {}\ns: \"1e3\"\np: /x/y-z.txt\nf: 3.0\n\"n\": "
            "null\nz: null\n"
            "w: \"two words\"\nm: \"a: b\"\n");
}

TEST(Heartbeat, CountsAndCarriesProgress) {
  TempDir dir;
  EXPECT_FALSE(read_heartbeat(dir.path()).has_value());
  {
    Heartbeat heartbeat(dir.path(), 0.02);
    const uint64_t first = read_heartbeat(dir.path())->counter;
    for (int i = 0; i < 200 && read_heartbeat(dir.path())->counter < first + 3; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_GE(read_heartbeat(dir.path())->counter, first + 3);
    report_progress("quantise", 3, 24);
    const auto beat = read_heartbeat(dir.path());
    EXPECT_EQ(beat->stage, "quantise");
    EXPECT_EQ(beat->done, 3);
    EXPECT_EQ(beat->total, 24);
  }
  report_progress("after", 1, 1);  // nobody listens any more
  EXPECT_EQ(read_heartbeat(dir.path())->stage, "quantise");
}

TEST(WorkerExit, NamesTheKindOfFailure) {
  EXPECT_EQ(worker_exit_for(NumericalError("x")), WorkerExit::kNumerical);
  EXPECT_EQ(worker_exit_for(ConfigError("x")), WorkerExit::kConfig);
  EXPECT_EQ(worker_exit_for(DataError("x")), WorkerExit::kInput);
  EXPECT_EQ(worker_exit_for(DataError("x", "T-CHANGED")), WorkerExit::kInputChanged);
  EXPECT_EQ(worker_exit_for(std::bad_alloc()), WorkerExit::kHostMemory);
  EXPECT_EQ(worker_exit_for(std::runtime_error("CUDA out of memory. Tried to allocate")), WorkerExit::kDeviceMemory);
  EXPECT_EQ(worker_exit_for(std::runtime_error("CUDA error: an illegal memory access")), WorkerExit::kDevice);
  EXPECT_EQ(worker_exit_for(std::runtime_error("[enforce fail] DefaultCPUAllocator: can't allocate memory")),
            WorkerExit::kHostMemory);
  EXPECT_EQ(worker_exit_for(std::runtime_error("?")), WorkerExit::kInternal);
}

TEST(FailureNote, IsReadBackAndDamageIsNotFatal) {
  TempDir dir;
  EXPECT_FALSE(read_failure_note(dir.path()).has_value());
  write_failure_note(dir.path(), WorkerExit::kNumerical, "loss is NaN at step 3 \xFF");
  EXPECT_EQ(read_failure_note(dir.path())->failure_class, "numerical");
  results::put_file(dir.path() / "failure.json", "{\"class\":3}", results::IfPresent::kReplace);
  EXPECT_FALSE(read_failure_note(dir.path()).has_value());
}

}  // namespace
}  // namespace aqlm_exp::plan
