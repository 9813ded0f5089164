#include "analysis/diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/analysis/sample_sweep.h"

namespace aqlm_exp::analysis {
namespace {

using testing::HasSubstr;

Dataset one(const SampleTrial& trial = {}) { return sample_dataset({trial}); }

results::Metric& metric_of(Dataset& data, const std::string& name) {
  for (results::Metric& metric : data.rows[0].record->metrics) {
    if (metric.name == name) return metric;
  }
  throw std::runtime_error(name);
}

const MetricChange& change_of(const Diff& diff, const std::string& name) {
  for (const MetricChange& change : diff.pairs.at(0).metrics) {
    if (change.metric == name) return change;
  }
  throw std::runtime_error(name);
}

void set_provenance(Dataset& data, const std::string& key, const std::string& value) {
  for (auto& [name, old] : data.rows[0].record->provenance) {
    if (name == key) old = value;
  }
}

/// Shifts every window, and the metric with them.
void worsen(Dataset& data, double by) {
  for (results::Samples& samples : data.rows[0].record->samples) {
    if (samples.name == "window_kl") {
      for (double& value : samples.values) value += by;
    }
  }
  metric_of(data, "kl").value += by;
}

TEST(Diff, EqualTrialsAreEqual) {
  const Diff result = diff(one(), one());
  EXPECT_EQ(result.pairs.at(0).causes.count(), 0u);
  for (const MetricChange& change : result.pairs[0].metrics) EXPECT_EQ(change.change, Change::kEqual) << change.metric;
}

TEST(Diff, AChangedKeyIsConfig) {
  Dataset a = one(), b = one();
  b.rows[0].record->config_identity = "{\"config\":{\"quant\":{\"nbits\":3}}}";
  a.rows[0].record->config_identity = "{\"config\":{\"quant\":{\"nbits\":2}}}";
  worsen(b, 0.1);
  const Diff result = diff(a, b);
  ASSERT_EQ(result.pairs.at(0).causes.config.size(), 1u);
  EXPECT_EQ(result.pairs[0].causes.config[0], (FieldChange{"quant.nbits", "2", "3"}));
  EXPECT_EQ(change_of(result, "kl").change, Change::kReal);
  EXPECT_EQ(change_of(result, "kl").why, "config");
  EXPECT_NEAR(change_of(result, "kl").difference->mean, 0.1, 1e-9);
}

TEST(Diff, AnotherBuildIsCodeAndAnotherHostIsMachine) {
  Dataset a = one(), b = one(), c = one();
  b.rows[0].record->build_id = "build-2";
  set_provenance(c, "host/cpu", "another");
  worsen(b, 0.1);
  worsen(c, 0.1);
  EXPECT_EQ(change_of(diff(a, b), "kl").why, "code");
  EXPECT_EQ(change_of(diff(a, c), "kl").why, "machine");
  set_provenance(b, "host/cpu", "another");
  const Diff both = diff(a, b);
  EXPECT_EQ(change_of(both, "kl").why, "code or machine");
  EXPECT_THAT(diff_text(both, a, b, 0, false), HasSubstr("only a run with one change at a time tells"));
}

TEST(Diff, WhatChanceExplainsIsNoise) {
  Dataset a = one(), b = one();
  b.rows[0].record->build_id = "build-2";
  auto& windows = b.rows[0].record->samples[0].values;
  for (size_t i = 0; i < windows.size(); ++i) windows[i] += i % 2 == 0 ? 0.01 : -0.01;
  metric_of(b, "kl").value += 1e-6;
  EXPECT_EQ(change_of(diff(a, b), "kl").change, Change::kNoise);
}

TEST(Diff, SameEverythingButAnotherNumberIsUnexplained) {
  Dataset a = one(), b = one();
  worsen(b, 0.1);
  const Diff result = diff(a, b);
  EXPECT_EQ(change_of(result, "kl").change, Change::kUnexplained);
  EXPECT_THAT(diff_text(result, a, b, 0, false), HasSubstr("not deterministic"));
}

TEST(Diff, SpeedsAreNoiseWhileTheirRepeatsMeet) {
  Dataset a = one(), b = one(), c = one(), d = one();
  const auto measure = [](Dataset& data, std::vector<double> repeats) {
    metric_of(data, "decode_tokens_per_s").value = repeats[1];
    data.rows[0].record->samples.push_back(
        {.name = "decode_tokens_per_s", .values = std::move(repeats), .deterministic = false});
  };
  measure(a, {100, 110, 120});
  measure(b, {115, 118, 130});
  measure(c, {200, 210, 220});
  metric_of(d, "decode_tokens_per_s").value = 1;
  EXPECT_EQ(change_of(diff(a, b), "decode_tokens_per_s").change, Change::kNoise);
  EXPECT_EQ(change_of(diff(a, c), "decode_tokens_per_s").change, Change::kReal);
  EXPECT_EQ(change_of(diff(a, d), "decode_tokens_per_s").change, Change::kUnknown);
}

TEST(Diff, SweepsArePairedAndTheRestIsListed) {
  const Dataset a = sample_sweep();
  Dataset b = sample_sweep();
  b.rows.erase(b.rows.begin());
  b.rows.push_back(sample_failure());
  const Diff result = diff(a, b);
  EXPECT_EQ(result.pairs.size(), 7u);
  EXPECT_EQ(result.only_a.size(), 1u);
  EXPECT_EQ(result.only_b.size(), 1u);
  b.rows[0] = sample_failure("out of memory");
  b.rows[0].id = a.rows[1].id;
  EXPECT_THAT(diff(a, b).unfinished, testing::ElementsAre(HasSubstr("failed (out of memory) in B")));
}

TEST(Diff, JsonHoldsCausesAndVerdicts) {
  Dataset a = one(), b = one();
  b.rows[0].record->build_id = "build-2";
  const auto json = nlohmann::json::parse(diff_json(diff(a, b), a, b));
  EXPECT_EQ(json["pairs"][0]["code"][0]["key"], "build_id");
  EXPECT_EQ(json["pairs"][0]["metrics"]["kl"]["change"], "equal");
}

}  // namespace
}  // namespace aqlm_exp::analysis
