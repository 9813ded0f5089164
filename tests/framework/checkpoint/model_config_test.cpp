// Every class of design/experiments.md 5.3, both generations of keys, and the embedded models' own files.
#include "framework/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/framework/checkpoint/fixture.h"

namespace aqlm_exp::checkpoint {
namespace {

using Json = nlohmann::json;

/// A small qwen2 config, as transformers 5 saves it.
Json small() {
  return Json::parse(
      R"({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "dtype": "bfloat16",
    "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu",
    "rope_parameters": {"rope_theta": 50000.0, "rope_type": "default"}, "eos_token_id": [1, 2], "bos_token_id": 0})");
}
ModelConfig parse(const Json& json) { return parse_model_config(json.dump(), "config.json"); }
std::string verdict(const Json& json) {
  return code_of([&] { parse(json); });
}
/// The verdict on the small config with one key set.
std::string with(const std::string& key, const Json& value) {
  Json json = small();
  json[key] = value;
  return verdict(json);
}

TEST(ModelConfig, ReadsTransformers5Keys) {
  const ModelConfig config = parse(small());
  EXPECT_EQ(config.hidden_size, 32);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.rope.theta, 50000.0);
  EXPECT_EQ(config.rope.original_max_position_embeddings, 256);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_EQ(config.dtype, "bfloat16");
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(config.bos_token_ids, (std::vector<int64_t>{0}));
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_TRUE(config.qkv_bias);
  EXPECT_FALSE(config.attention_out_bias);
  EXPECT_EQ(config.windows, (std::vector<int64_t>{0, 0, 0}));
  EXPECT_FALSE(config.aqlm.has_value());
}

TEST(ModelConfig, ReadsHubKeysToTheSameValues) {
  Json json = small();
  json.erase("rope_parameters");
  json.erase("dtype");
  json["torch_dtype"] = "bfloat16";
  json["rope_theta"] = 50000;
  json["rope_scaling"] = {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  const ModelConfig config = parse(json);
  EXPECT_EQ(config.rope.theta, 50000.0);
  EXPECT_EQ(config.rope.type, RopeType::kYarn);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.rope.original_max_position_embeddings, 64);
  EXPECT_EQ(config.dtype, "bfloat16");
}

TEST(ModelConfig, FallbacksAreThoseOfTheFamily) {
  Json json = small();
  for (const char* key : {"num_key_value_heads", "rope_parameters", "tie_word_embeddings", "rms_norm_eps"})
    json.erase(key);
  json["num_attention_heads"] = 32;
  json["hidden_size"] = 64 * 32;
  EXPECT_EQ(parse(json).num_kv_heads, 32);
  EXPECT_EQ(parse(json).rope.theta, 10000.0);
  json["model_type"] = "qwen3";
  EXPECT_EQ(parse(json).head_dim, 128) << "Qwen3's head size does not follow from hidden_size";
  EXPECT_TRUE(parse(json).qk_norm);
  json["model_type"] = "llama";
  json["attention_bias"] = true;
  EXPECT_TRUE(parse(json).attention_out_bias);
  EXPECT_EQ(parse(json).head_dim, 64);
  EXPECT_FALSE(parse(json).tie_word_embeddings);
}

TEST(ModelConfig, WindowsFollowTheFamilysRule) {
  Json json = small();
  json["sliding_window"] = 16;
  json["max_window_layers"] = 1;
  EXPECT_EQ(parse(json).windows, (std::vector<int64_t>{0, 0, 0})) << "use_sliding_window is off";
  json["use_sliding_window"] = true;
  EXPECT_EQ(parse(json).windows, (std::vector<int64_t>{0, 16, 16}));
  json["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(parse(json).windows, (std::vector<int64_t>{16, 0, 16}));
  json["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_EQ(verdict(json), "J-MISMATCH");
  json["layer_types"] = {"sliding_attention", "full_attention", "none"};
  EXPECT_EQ(verdict(json), "J-UNKNOWN");
  json.erase("layer_types");
  json["model_type"] = "mistral";
  EXPECT_EQ(parse(json).windows, (std::vector<int64_t>{16, 16, 16}));
  json["sliding_window"] = nullptr;
  EXPECT_EQ(parse(json).windows, (std::vector<int64_t>{0, 0, 0}));
  json.erase("sliding_window");
  EXPECT_EQ(parse(json).windows, (std::vector<int64_t>{4096, 4096, 4096}));
}

TEST(ModelConfig, RopeParametersAreChecked) {
  const auto rope = [](const char* text) { return with("rope_parameters", Json::parse(text)); };
  EXPECT_EQ(
      rope(
          R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64})"),
      "none");
  EXPECT_EQ(rope(R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4})"), "J-MISSING");
  EXPECT_EQ(
      rope(
          R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4, "original_max_position_embeddings": 64})"),
      "J-MISMATCH");
  EXPECT_EQ(rope(R"({"rope_type": "linear"})"), "J-MISSING");
  EXPECT_EQ(rope(R"({"rope_type": "linear", "factor": 0})"), "J-RANGE");
  EXPECT_EQ(rope(R"({"rope_type": "dynamic", "factor": "2"})"), "J-TYPE");
  EXPECT_EQ(rope(R"({"rope_type": "spiral"})"), "J-UNKNOWN");
  EXPECT_EQ(rope(R"({"rope_theta": -1.0})"), "J-RANGE");
  EXPECT_EQ(rope(R"({"rope_type": "longrope", "short_factor": [1,1,1,1], "long_factor": [2,2,2,2]})"), "none");
  EXPECT_EQ(rope(R"({"rope_type": "longrope", "short_factor": [1,1,1], "long_factor": [2,2,2,2]})"), "J-MISMATCH");
  EXPECT_EQ(rope(R"({"rope_type": "longrope", "short_factor": [1,1,1,0], "long_factor": [2,2,2,2]})"), "J-RANGE");
}

TEST(ModelConfig, SyntaxDuplicatesAndDepth) {
  const auto text_verdict = [](const std::string& text) {
    return code_of([&] { parse_model_config(text, "config.json"); });
  };
  EXPECT_EQ(text_verdict("{"), "J-SYNTAX");
  EXPECT_EQ(text_verdict(R"({"model_type": "qwen2", "model_type": "llama"})"), "J-DUP");
  EXPECT_EQ(text_verdict(R"({"a": )" + std::string(100000, '[')), "J-DEPTH");
  EXPECT_EQ(text_verdict(R"({"hidden_size": 99999999999999999999})"), "J-SYNTAX");
  EXPECT_EQ(text_verdict("{\"a\": \"\xFF\"}"), "J-UTF8");
  EXPECT_EQ(text_verdict(std::string((16 << 20) + 1, ' ')), "J-LIMIT");
  EXPECT_EQ(text_verdict("[]"), "J-TYPE");
}

TEST(ModelConfig, ExactTypesAndBounds) {
  EXPECT_EQ(with("hidden_size", 32.0), "J-TYPE");
  EXPECT_EQ(with("hidden_size", "32"), "J-TYPE");
  EXPECT_EQ(with("hidden_size", 0), "J-RANGE");
  EXPECT_EQ(with("hidden_size", (1 << 20) + 4), "J-RANGE");
  EXPECT_EQ(with("num_hidden_layers", 1025), "J-RANGE");
  EXPECT_EQ(with("num_hidden_layers", -1), "J-RANGE");
  EXPECT_EQ(with("vocab_size", (1 << 24) + 1), "J-RANGE");
  EXPECT_EQ(with("vocab_size", true), "J-TYPE");
  EXPECT_EQ(with("num_attention_heads", 5), "J-MISMATCH");
  EXPECT_EQ(with("num_key_value_heads", 3), "J-MISMATCH");
  EXPECT_EQ(with("head_dim", 7), "J-MISMATCH");
  EXPECT_EQ(with("rms_norm_eps", 0), "J-RANGE");
  EXPECT_EQ(with("rms_norm_eps", -1e-6), "J-RANGE");
  EXPECT_EQ(with("tie_word_embeddings", 1), "J-TYPE");
  EXPECT_EQ(with("eos_token_id", -1), "J-RANGE");
  EXPECT_EQ(with("eos_token_id", {1, "2"}), "J-TYPE");
  EXPECT_EQ(with("hidden_act", "swash"), "J-UNKNOWN");
  for (const char* key :
       {"model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}) {
    Json json = small();
    json.erase(key);
    EXPECT_EQ(verdict(json), "J-MISSING") << key;
    EXPECT_EQ(with(key, nullptr), "J-MISSING") << key;
  }
}

TEST(ModelConfig, CountsStartAtOneAndNumbersAreFinite) {
  for (const char* key : {"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
                          "vocab_size", "head_dim", "max_position_embeddings"}) {
    EXPECT_EQ(with(key, 0), "J-RANGE") << key;
  }
  const auto raw = [](const std::string& key, const std::string& number) {
    std::string text = small().dump();
    text.insert(1, "\"" + key + "\": " + number + ",");
    return code_of([&] { parse_model_config(text, "config.json"); });
  };
  EXPECT_EQ(raw("rope_theta", "0"), "J-RANGE");
  EXPECT_EQ(raw("rope_theta", "1e999"), "J-SYNTAX") << "no double";
  EXPECT_EQ(raw("rope_theta", "NaN"), "J-SYNTAX");
  EXPECT_EQ(raw("rope_theta", "1e4"), "none");
  EXPECT_EQ(with("rms_norm_eps", 2.0), "J-RANGE");
}

TEST(ModelConfig, CodeOfTheModelsFolderIsNamedAndNotRun) {
  Json json = small();
  json["auto_map"] = {{"AutoModelForCausalLM", "modeling_evil.Model"}};
  testing::internal::CaptureStderr();
  EXPECT_EQ(parse(json).model_type, "qwen2");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), ::testing::HasSubstr("it is not run"));
}

TEST(ModelConfig, UnknownModelTypeOffersTheNearest) {
  EXPECT_EQ(with("model_type", "gpt2"), "J-UNKNOWN");
  try {
    Json json = small();
    json["model_type"] = "quen2";
    parse(json);
    FAIL();
  } catch (const DataError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("did you mean \"qwen2\""));
  }
}

TEST(ModelConfig, AqlmLayoutIsReadAndBounded) {
  Json json = small();
  json["quantization_config"] = {{"quant_method", "aqlm"},  {"num_codebooks", 2},
                                 {"nbits_per_codebook", 8}, {"in_group_size", 8},
                                 {"out_group_size", 1},     {"linear_weights_not_to_quantize", {"lm_head.weight"}}};
  const ModelConfig config = parse(json);
  ASSERT_TRUE(config.aqlm.has_value());
  EXPECT_EQ(config.aqlm->num_codebooks, 2);
  EXPECT_EQ(config.aqlm->codebook_size(), 256);
  EXPECT_EQ(config.aqlm->not_quantised, (std::vector<std::string>{"lm_head.weight"}));
  json["quantization_config"]["nbits_per_codebook"] = 17;
  EXPECT_EQ(verdict(json), "J-RANGE");
  json["quantization_config"]["nbits_per_codebook"] = "8";
  EXPECT_EQ(verdict(json), "J-TYPE");
  json["quantization_config"]["quant_method"] = "bitsandbytes";
  EXPECT_EQ(verdict(json), "J-UNKNOWN");
  EXPECT_EQ(with("aqlm", {{"num_codebooks", 1}}), "J-UNKNOWN");
}

TEST(ModelConfig, AFolderWithoutConfigIsRefused) {
  const TemporaryFolder folder("config_test");
  EXPECT_EQ(code_of([&] { load_model_config(folder.path()); }), "J-MISSING");
}

}  // namespace
}  // namespace aqlm_exp::checkpoint
