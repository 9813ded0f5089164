#include "framework/checkpoint/expected_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "tests/framework/checkpoint/fixture.h"

namespace aqlm_exp::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelConfig tiny(bool tied) {
  ModelConfig config = parse_model_config(R"({"model_type": "qwen2", "hidden_size": 16, "intermediate_size": 24,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 10, "quantization_config":
    {"quant_method": "aqlm", "num_codebooks": 2, "nbits_per_codebook": 3, "in_group_size": 8, "out_group_size": 2}})",
                                          "config.json");
  config.tie_word_embeddings = tied;
  return config;
}

struct Stored {
  Dtype dtype;
  std::vector<int64_t> shape;
};
using Tensors = std::map<std::string, Stored>;

Tensors dense_tensors(const ModelConfig& config) {
  Tensors tensors;
  for (const ExpectedTensor& expected : expected_tensors(config))
    tensors[expected.name] = {Dtype::kBF16, expected.shape};
  return tensors;
}

Checkpoint stored(const TemporaryFolder& folder, const Tensors& tensors) {
  std::vector<TensorToWrite> list;
  for (const auto& [name, tensor] : tensors) {
    int64_t bytes = dtype_bits(tensor.dtype) / 8;
    for (int64_t dimension : tensor.shape) bytes *= dimension;
    list.push_back({name, tensor.dtype, tensor.shape,
                    [bytes](const ByteSink& sink) { sink(std::vector<std::byte>(static_cast<size_t>(bytes))); }});
  }
  write_safetensors(folder.path() / "model.safetensors", list);
  return Checkpoint::open(folder.path());
}

class VerifyCheckpoint : public ::testing::Test {
 protected:
  VerifyCheckpoint() : folder_("verify_test"), config_(tiny(true)), tensors_(dense_tensors(config_)) {}
  CheckpointSummary verify() { return verify_checkpoint(config_, stored(folder_, tensors_)); }
  std::string message() {
    try {
      verify();
    } catch (const DataError& error) {
      EXPECT_EQ(error.code(), "J-MISMATCH");
      return error.what();
    }
    return "none";
  }
  /// Replaces a dense linear [16, 16] by codes.
  void quantise(const std::string& module) {
    tensors_.erase(module + ".weight");
    tensors_[module + ".codes"] = {Dtype::kI8, {8, 2, 2}};
    tensors_[module + ".codebooks"] = {Dtype::kF16, {2, 8, 2, 8}};
    tensors_[module + ".scales"] = {Dtype::kF16, {8, 1, 1, 1}};
  }
  TemporaryFolder folder_;
  ModelConfig config_;
  Tensors tensors_;
  const std::string q_ = "model.layers.1.self_attn.q_proj";
};

TEST_F(VerifyCheckpoint, ACompleteModelPasses) {
  EXPECT_EQ(tensors_.size(), 1u + 2u * 12u + 1u);
  EXPECT_EQ(tensors_.at("model.layers.0.self_attn.k_proj.weight").shape, (std::vector<int64_t>{8, 16}));
  EXPECT_EQ(tensors_.at("model.layers.0.mlp.down_proj.weight").shape, (std::vector<int64_t>{16, 24}));
  const CheckpointSummary summary = verify();
  EXPECT_FALSE(summary.has_lm_head);
  EXPECT_THAT(summary.extra, IsEmpty());
  EXPECT_THAT(summary.quantised, IsEmpty());
}

TEST_F(VerifyCheckpoint, AMissingWeightIsRefusedByName) {
  for (const auto& [name, unused] : dense_tensors(config_)) {
    tensors_ = dense_tensors(config_);
    tensors_.erase(name);
    EXPECT_THAT(message(), HasSubstr("tensor \"" + name + "\": is missing"));
  }
}

TEST_F(VerifyCheckpoint, AnotherShapeOrTypeIsRefused) {
  tensors_[q_ + ".weight"].shape = {16, 17};
  EXPECT_THAT(message(), HasSubstr("has shape [16, 17], config.json implies [16, 16]"));
  tensors_[q_ + ".weight"] = {Dtype::kI8, {16, 16}};
  EXPECT_THAT(message(), HasSubstr("has type I8"));
}

TEST_F(VerifyCheckpoint, ExtraTensorsAreListedAndRotaryBuffersAreNot) {
  tensors_["model.layers.0.self_attn.rotary_emb.inv_freq"] = {Dtype::kF32, {2}};
  tensors_["model.layers.2.input_layernorm.weight"] = {Dtype::kF32, {16}};
  EXPECT_THAT(verify().extra, ElementsAre("model.layers.2.input_layernorm.weight"));
}

TEST_F(VerifyCheckpoint, AStoredHeadWinsOverTiedEmbeddings) {
  tensors_["lm_head.weight"] = {Dtype::kF16, {10, 16}};
  EXPECT_TRUE(verify().has_lm_head);
  EXPECT_THAT(verify().extra, IsEmpty());
  tensors_["lm_head.weight"].shape = {10, 15};
  EXPECT_THAT(message(), HasSubstr("lm_head.weight"));
  config_ = tiny(false);
  tensors_.erase("lm_head.weight");
  EXPECT_THAT(message(), HasSubstr("\"lm_head.weight\": is missing"));
}

TEST_F(VerifyCheckpoint, QuantisedLinearsAreRecognisedAndChecked) {
  quantise(q_);
  EXPECT_THAT(verify().quantised, ElementsAre(q_));
  tensors_[q_ + ".scales"].shape = {8, 2, 1, 1};
  EXPECT_THAT(verify().quantised, ElementsAre(q_));
  tensors_[q_ + ".codes"].shape = {8, 2, 3};
  EXPECT_THAT(message(), HasSubstr("quantization_config implies [8, 2, 2]"));
  quantise(q_);
  tensors_[q_ + ".codes"].dtype = Dtype::kF16;
  EXPECT_THAT(message(), HasSubstr("need integers of at least 3 bits"));
  quantise(q_);
  tensors_[q_ + ".codebooks"].shape = {2, 4, 2, 8};
  EXPECT_THAT(message(), HasSubstr("codebooks"));
  quantise(q_);
  tensors_.erase(q_ + ".scales");
  EXPECT_THAT(message(), HasSubstr("scales\": is missing"));
  quantise(q_);
  tensors_[q_ + ".weight"] = {Dtype::kF16, {16, 16}};
  EXPECT_THAT(message(), HasSubstr("both dense and as codes"));
  quantise(q_);
  config_.aqlm.reset();
  EXPECT_THAT(message(), HasSubstr("no quantization_config"));
}

/// The models in ../shared, unpacked into the build folder once; empty if they are not there.
fs::path shared_model(const std::string& name) {
  const char* set = std::getenv("AQLM_EXP_SHARED");
  const fs::path archive =
      fs::path(set != nullptr ? set : AQLM_EXP_SOURCE_DIR "/../shared") / "models" / (name + ".tar.xz");
  if (!fs::exists(archive)) return {};
  const fs::path folder = fs::path(AQLM_EXP_BINARY_DIR) / "shared_models";
  if (!fs::exists(folder / name / "config.json")) {
    fs::create_directories(folder);
    const std::string command = "tar xf '" + archive.string() + "' -C '" + folder.string() + "'";
    if (std::system(command.c_str()) != 0) return {};
  }
  return folder / name;
}

TEST(SharedModels, AllThreeVerify) {
  for (const char* name : {"qwen2-5m", "qwen2-17m", "aqlm-official-qwen2-17m-2x8"}) {
    const fs::path folder = shared_model(name);
    if (folder.empty()) GTEST_SKIP() << "no models in AQLM_EXP_SHARED (default ../shared)";
    const ModelConfig config = load_model_config(folder);
    const Checkpoint checkpoint = Checkpoint::open(folder);
    const CheckpointSummary summary = verify_checkpoint(config, checkpoint);
    EXPECT_THAT(summary.extra, IsEmpty()) << name;
    EXPECT_FALSE(summary.has_lm_head) << name;
    EXPECT_EQ(summary.quantised.size(), config.aqlm ? 8u * 7u : 0u) << name;
    for (const TensorInfo& info : checkpoint.tensors()) {
      EXPECT_EQ(checkpoint.count_non_finite(info).num_nan, 0) << info.name;
    }
    checkpoint.check_unchanged();
  }
}

}  // namespace
}  // namespace aqlm_exp::checkpoint
