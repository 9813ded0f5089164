// Trials of models with experts, from configuration to result: policies, counts, weights left in their files.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "framework/base/rng.h"
#include "tests/framework/results/temp_dir.h"
#include "tests/framework/trial/run_json.h"

namespace aqlm_exp::trial {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSamples = 4, kSeqLen = 16, kTokens = kSamples * kSeqLen;
constexpr double kExperts = 4, kExpertsPerToken = 2;  // of the mixtral folder

/// The tiny Mixtral of tests/golden with a tokenizer of one token a letter, and a text of random letters.
class ExpertsTest : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path golden = fs::path(AQLM_EXP_SOURCE_DIR) / "tests/golden/families/mixtral";
    for (const char* file : {"config.json", "model.safetensors"}) fs::copy(golden / file, dir_.path() / file);
    nlohmann::json vocab;
    for (int i = 0; i < 26; ++i) vocab[std::string(1, static_cast<char>('a' + i))] = i;
    const nlohmann::json tokenizer = {
        {"version", "1.0"},
        {"added_tokens", nlohmann::json::array()},
        {"normalizer", nullptr},
        {"pre_tokenizer", nullptr},
        {"post_processor", nullptr},
        {"decoder", nullptr},
        {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", nlohmann::json::array()}}}};
    std::ofstream(dir_.path() / "tokenizer.json") << tokenizer;
    Rng rng(1);
    std::string text;
    for (int i = 0; i < 400; ++i) text += static_cast<char>('a' + rng.below(26));
    std::ofstream(dir_.path() / "text.txt") << text;
  }

  results::TrialRecord run(const char* method, const char* calibration = "{}", const char* model = "{}") {
    nlohmann::json json = nlohmann::json::parse(method);
    json["model"] = nlohmann::json::parse(model);
    json["model"]["path"] = dir_.path().string();
    json["calibration"] = nlohmann::json::parse(calibration);
    json["calibration"].update({{"path", text()}, {"num_samples", kSamples}, {"seq_len", kSeqLen}});
    json["eval"] = {{"path", text()}, {"seq_len", 32}, {"max_windows", 3}};
    json["speed"] = {{"enabled", false}};
    return run_json(json);
  }
  std::string text() const { return (dir_.path() / "text.txt").string(); }

  /// Values of one metric by the linear's name, for linears whose name holds `part`.
  static std::map<std::string, double> of(const results::TrialRecord& record, const std::string& metric,
                                          const std::string& part) {
    std::map<std::string, double> found;
    for (const results::LayerArray& array : record.layers.metrics) {
      for (size_t i = 0; array.name == metric && i < record.layers.names.size(); ++i) {
        if (record.layers.names[i].find(part) != std::string::npos) found[record.layers.names[i]] = array.values[i];
      }
    }
    EXPECT_FALSE(found.empty()) << metric << " " << part;
    return found;
  }
  static double sum(const std::map<std::string, double>& values) {
    double total = 0;
    for (const auto& [name, value] : values) total += value;
    return total;
  }

  TempDir dir_;
};

constexpr const char* kGptq = R"({"method":{"type":"gptq"},"quant":{"nbits":3,"group_size":8}})";
constexpr const char* kAqlm = R"({"method":{"type":"aqlm"},"schedule":{"max_rounds":1},
  "quant":{"num_codebooks":2,"nbits_per_codebook":4,"in_group_size":8},"codebook":{"type":"residual_kmeans","max_iter":3}})";

TEST_F(ExpertsTest, ResultsTellHowManyTokensEachExpertSaw) {
  for (const char* method : {kGptq, kAqlm}) {
    const results::TrialRecord routed = run(method), all = run(method, R"({"experts":"all"})");
    for (const char* linear : {"layers.0.block_sparse_moe.experts", "layers.1.block_sparse_moe.experts"}) {
      // w1, w2 and w3 of every expert
      EXPECT_EQ(sum(of(routed, "calibration_tokens", linear)), 3 * kExpertsPerToken * kTokens) << linear;
      EXPECT_EQ(sum(of(all, "calibration_tokens", linear)), 3 * kExperts * kTokens) << linear;
    }
    for (const auto& [name, tokens] : of(routed, "calibration_tokens", "self_attn")) EXPECT_EQ(tokens, kTokens) << name;
    EXPECT_NE(routed.find_metric("kl")->value, all.find_metric("kl")->value);
  }
}

TEST_F(ExpertsTest, BelowTheThresholdAreRoundedToNearestAndTheResultSaysSo) {
  const results::TrialRecord none = run(kGptq, R"({"experts":"all"})");
  EXPECT_EQ(sum(of(none, "rounded_to_nearest", "")), 0);
  const results::TrialRecord few = run(kGptq, R"({"min_expert_tokens":100000})");
  for (const auto& [name, rounded] : of(few, "rounded_to_nearest", "")) {
    EXPECT_EQ(rounded, name.find("experts") != std::string::npos) << name;
  }
  EXPECT_THAT(
      few.provenance,
      testing::Contains(testing::Pair(
          "notes/n0", testing::VariantWith<std::string>(testing::HasSubstr(
                          "12 linears of experts saw fewer than 100000 calibration tokens and were rounded")))));
}

TEST_F(ExpertsTest, WeightsLeftInTheirFilesChangeNoNumber) {
  for (const char* method : {kGptq, kAqlm}) {
    const results::TrialRecord held = run(method), streamed = run(method, "{}", R"({"stream":true})");
    ASSERT_EQ(held.metrics.size(), streamed.metrics.size());
    for (size_t i = 0; i < held.metrics.size(); ++i) {
      if (!held.metrics[i].deterministic) continue;
      EXPECT_EQ(held.metrics[i].name, streamed.metrics[i].name);
      EXPECT_EQ(held.metrics[i].value, streamed.metrics[i].value) << held.metrics[i].name;
    }
    EXPECT_EQ(of(held, "rel_output_error", ""), of(streamed, "rel_output_error", ""));
  }
}

TEST(ExpertKeys, AreIdentityAndStreamingIsNot) {
  const config::Object schema = trial_schema();
  const auto key = [&](const char* section, const char* name) { return *schema.find(section)->object->find(name); };
  EXPECT_TRUE(key("calibration", "experts").identity);
  EXPECT_TRUE(key("calibration", "min_expert_tokens").identity);
  EXPECT_FALSE(key("model", "stream").identity);
}

}  // namespace
}  // namespace aqlm_exp::trial
