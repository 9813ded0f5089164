// What a trial files about the quality of its model: conventions, divergence, attribution, tasks.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "framework/base/error.h"
#include "tests/framework/results/temp_dir.h"
#include "tests/framework/support/models.h"
#include "tests/framework/trial/run_json.h"

namespace aqlm_exp::trial {
namespace {

class QualityTest : public testing::Test {
 protected:
  /// @param method  JSON of the sections that differ
  results::TrialRecord run(const std::string& method, const std::string& eval) {
    nlohmann::json json = nlohmann::json::parse(method);
    json["model"]["path"] = test::embedded_model().string();
    json["calibration"] = {{"path", text_.string()}, {"num_samples", 2}, {"seq_len", 64}};
    json["eval"] = nlohmann::json::parse(eval);
    json["eval"]["path"] = text_.string();
    json["eval"]["seq_len"] = 128;
    json["eval"]["max_windows"] = 2;
    json["speed"] = {{"enabled", false}};
    return run_json(json);
  }
  static double value(const results::TrialRecord& record, const std::string& name) {
    const results::Metric* metric = record.find_metric(name);
    if (metric == nullptr) {
      ADD_FAILURE() << "no metric " << name;
      return results::kAbsent;
    }
    return metric->value;
  }
  static const std::vector<double>& samples(const results::TrialRecord& record, const std::string& name) {
    static const std::vector<double> none;
    for (const results::Samples& s : record.samples) {
      if (s.name == name) return s.values;
    }
    ADD_FAILURE() << "no samples " << name;
    return none;
  }

  TempDir dir_;
  std::filesystem::path text_ = std::filesystem::path(AQLM_EXP_SOURCE_DIR) / "models/text/sampled_eval.txt";
};

constexpr const char* kRtn = R"({"method":{"type":"rtn"},"quant":{"nbits":3,"group_size":64}})";

TEST_F(QualityTest, EveryConventionHasItsOwnNames) {
  const results::TrialRecord record = run(kRtn, R"({"also":["llamacpp-128 first-2","hqq-128/64 first-3"]})");
  EXPECT_EQ(record.find_label("convention"), "gptq-128 first-2");
  const double ppl = value(record, "ppl");
  EXPECT_NE(ppl, value(record, "ppl_llamacpp_128_first_2"));
  EXPECT_NE(ppl, value(record, "ppl_hqq_128_64_first_3"));
  EXPECT_LT(record.find_metric("ppl")->ci_low, ppl);
  EXPECT_GT(record.find_metric("ppl")->ci_high, ppl);
  EXPECT_THAT(record.find_metric("ppl_llamacpp_128_first_2")->description,
              testing::HasSubstr("llamacpp-128 first-2: "));
  for (const char* name : {"kl", "kl_median", "kl_p99", "kl_max", "top1_agreement", "delta_p", "delta_p_rms",
                           "kl_llamacpp_128_first_2", "kl_p999_hqq_128_64_first_3"}) {
    value(record, name);
  }
  EXPECT_EQ(record.find_metric("kl_noise_floor"), nullptr);
}

TEST_F(QualityTest, TokensOfTheRecordGiveItsMetricsAgain) {
  const results::TrialRecord record = run(kRtn, "{}");
  const auto& losses = samples(record, "token_loss");
  const auto& tokens = samples(record, "window_tokens");
  EXPECT_EQ(tokens, (std::vector<double>{127, 127}));
  ASSERT_EQ(losses.size(), 254u);
  const double mean = std::accumulate(losses.begin(), losses.end(), 0.0) / 254;
  EXPECT_NEAR(std::exp(mean), value(record, "ppl"), 1e-9 * std::exp(mean));
  const auto& kl = samples(record, "token_kl");
  ASSERT_EQ(kl.size(), 256u);
  EXPECT_NEAR(std::accumulate(kl.begin(), kl.end(), 0.0) / 256, value(record, "kl"), 1e-12);
  for (const results::Samples& s : run(kRtn, R"({"store_tokens":false})").samples) EXPECT_NE(s.name, "token_loss");
}

TEST_F(QualityTest, TheUnquantisedModelHasANoiseFloorBelowAnyQuantisation) {
  const results::TrialRecord none = run(R"({"method":{"type":"none"}})", "{}");
  EXPECT_NEAR(value(none, "kl"), 0, 1e-9);
  const double floor = value(none, "kl_noise_floor");
  EXPECT_GT(floor, 0);
  EXPECT_LT(floor, 0.1 * value(run(kRtn, "{}"), "kl"));
}

TEST_F(QualityTest, AttributionIsFiledByLayerAndProjection) {
  const results::TrialRecord record = run(R"({"method":{"type":"gptq"},"quant":{"nbits":3,"group_size":64}})",
                                          R"({"attribution":"linears","attribution_windows":1})");
  ASSERT_EQ(record.layers.names.size(), 28u);
  bool found = false;
  double sum = 0;
  for (const results::LayerArray& array : record.layers.metrics) {
    if (array.name != "swap_kl") continue;
    found = true;
    for (const double kl : array.values) {
      EXPECT_GT(kl, 0);
      sum += kl;
    }
  }
  EXPECT_TRUE(found);
  EXPECT_NEAR(value(record, "swap_kl_sum"), sum, 1e-12);
  const double correlation = value(record, "swap_kl_proxy_spearman");
  EXPECT_GE(correlation, -1);
  EXPECT_LE(correlation, 1);
}

TEST_F(QualityTest, AwqIsAttributedByBlocksWithANote) {
  const results::TrialRecord record =
      run(R"({"method":{"type":"awq","search_samples":1},"quant":{"nbits":4,"group_size":64}})",
          R"({"attribution":"linears","attribution_windows":1})");
  EXPECT_EQ(std::count(record.layers.columns.begin(), record.layers.columns.end(), "block"), 1);
  EXPECT_EQ(std::count_if(record.provenance.begin(), record.provenance.end(),
                          [](const auto& entry) { return entry.first == "notes/attribution"; }),
            1);
}

TEST_F(QualityTest, TasksAreScoredWithTheirErrors) {
  const std::filesystem::path file = dir_.path() / "tiny.jsonl";
  std::ofstream(file) << R"({"query":"He went to the","choices":["sea","xqz"],"gold":0})"
                      << "\n"
                      << R"({"query":"She opened the","choices":["qqq","door"],"gold":1})"
                      << "\n";
  const results::TrialRecord record = run(kRtn, R"({"tasks":[{"path":")" + file.string() + R"(","name":"Tiny-1"}]})");
  EXPECT_GE(value(record, "acc_tiny_1"), 0);
  EXPECT_EQ(record.find_metric("acc_norm_tiny_1")->n, 2);
  EXPECT_EQ(samples(record, "correct_acc_tiny_1").size(), 2u);
}

TEST_F(QualityTest, PeakMemoryOfEachStageIsKept) {
  const results::TrialRecord record = run(kRtn, "{}");
  for (const char* stage :
       {"memory/load_peak_host_mib", "memory/quantise_peak_host_mib", "memory/quality_peak_host_mib"}) {
    const auto found = std::find_if(record.timing.begin(), record.timing.end(),
                                    [&](const auto& entry) { return entry.first == stage; });
    ASSERT_NE(found, record.timing.end()) << stage;
    EXPECT_GT(std::get<double>(found->second), 10.0);
    EXPECT_LE(std::get<double>(found->second), value(record, "peak_host_mib") + 1e-6);
  }
}

}  // namespace
}  // namespace aqlm_exp::trial
