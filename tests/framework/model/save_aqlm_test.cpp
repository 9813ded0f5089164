#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/model/mapped_weight.h"
#include "framework/model/save.h"
#include "framework/quant/additive_weight.h"
#include "framework/scalar/grid.h"
#include "framework/scalar/scalar_weight.h"
#include "tests/framework/model/quantised_families.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::model {
namespace {

namespace fs = std::filesystem;
using test::family_folder;
using test::quantised_family;

constexpr quant::CodeSpec kSpec{.num_codebooks = 2, .nbits_per_codebook = 5, .in_group_size = 4, .out_group_size = 1};

class SaveAqlm : public testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    folder_ = fs::path(testing::TempDir()) / ("save_aqlm_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  nlohmann::json config() const {
    return nlohmann::json::parse(read_regular_file(folder_ / "config.json", 1 << 20, "J"));
  }

  const c10::NoGradGuard no_grad_;
  fs::path folder_;
};

TEST_F(SaveAqlm, EveryFamilyComesBackWithItsLogits) {
  const at::Tensor ids = (at::arange(30) * 7 % 40).view({1, 30});
  for (const auto& entry : fs::directory_iterator(family_folder(""))) {
    const std::string name = entry.path().filename().string();
    const Model model = quantised_family(name, kSpec);
    save_aqlm(model, folder_, {.source = family_folder(name)});
    const Model read = load_model(folder_, at::kCPU);
    // Stored bfloat16 is exact in float16 at these magnitudes, codebooks and scales were rounded before.
    EXPECT_TRUE(at::allclose(read.forward(ids), model.forward(ids), 1e-4, 1e-4)) << name;
    EXPECT_EQ(quantised_bits(read).total_bits(), quantised_bits(model).total_bits()) << name;
    fs::remove_all(folder_);
  }
}

TEST_F(SaveAqlm, CodesOfAllWidthsComeBack) {
  for (const int64_t nbits : {1, 7, 8, 9, 12, 16}) {
    const quant::CodeSpec spec{
        .num_codebooks = 3, .nbits_per_codebook = nbits, .in_group_size = 8, .out_group_size = 2};
    const Model model = quantised_family("llama", spec);
    save_aqlm(model, folder_, {.source = family_folder("llama")});
    const auto file = checkpoint::Checkpoint::open(folder_);
    const checkpoint::TensorInfo& codes = file.at("model.layers.0.self_attn.q_proj.codes");
    EXPECT_EQ(codes.dtype, nbits <= 8 ? checkpoint::Dtype::kI8 : checkpoint::Dtype::kI16);
    const Model read = load_model(folder_, at::kCPU);
    for (size_t i = 0; i < model.linears().size(); ++i) {
      const auto* wrote = dynamic_cast<const quant::AdditiveWeight*>(model.linears()[i]->weight.get());
      const auto* got = dynamic_cast<const quant::AdditiveWeight*>(read.linears()[i]->weight.get());
      ASSERT_NE(got, nullptr);
      EXPECT_TRUE(got->codes().equal(wrote->codes()));
      EXPECT_TRUE(got->codebooks().equal(wrote->codebooks()));
      EXPECT_TRUE(got->scales().equal(wrote->scales()));
    }
    fs::remove_all(folder_);
  }
}

TEST_F(SaveAqlm, TheReferencesOwnFolderIsWrittenAsItCame) {
  const fs::path official = test::shared_model("aqlm-official-qwen2-17m-2x8");
  if (official.empty()) GTEST_SKIP() << test::skip_reason();
  save_aqlm(load_model(official, at::kCPU), folder_, {.source = official});
  const auto expected = checkpoint::Checkpoint::open(official), got = checkpoint::Checkpoint::open(folder_);
  ASSERT_EQ(got.tensors().size(), expected.tensors().size());
  for (const checkpoint::TensorInfo& info : expected.tensors()) {
    const checkpoint::TensorInfo& other = got.at(info.name);
    EXPECT_EQ(other.dtype, info.dtype) << info.name;
    EXPECT_EQ(other.shape, info.shape) << info.name;
    EXPECT_TRUE(std::ranges::equal(got.bytes(other), expected.bytes(info))) << info.name;
  }
  const auto theirs = nlohmann::json::parse(read_regular_file(official / "config.json", 1 << 20, "J"));
  const auto ours = config();
  for (const char* key : {"quant_method", "num_codebooks", "nbits_per_codebook", "in_group_size", "out_group_size"}) {
    EXPECT_EQ(ours["quantization_config"][key], theirs["quantization_config"][key]) << key;
  }
  const auto names = ours["quantization_config"]["linear_weights_not_to_quantize"].get<std::vector<std::string>>();
  for (const auto& name : theirs["quantization_config"]["linear_weights_not_to_quantize"]) {
    EXPECT_THAT(names, testing::Contains(name.get<std::string>()));
  }
  EXPECT_TRUE(fs::exists(folder_ / "tokenizer.json"));
}

TEST_F(SaveAqlm, ListsDenseLinearsInBothForms) {
  Model model = quantised_family("qwen3-moe", kSpec);
  model.blocks[0].o_proj.weight = std::make_shared<quant::DenseWeight>(at::ones({32, 64}));
  save_aqlm(model, folder_, {.source = family_folder("qwen3-moe")});
  const auto names = config()["quantization_config"]["linear_weights_not_to_quantize"].get<std::vector<std::string>>();
  for (const char* name :
       {"lm_head", "lm_head.weight", "model.layers.0.self_attn.o_proj", "model.norm.weight",
        "model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.gate", "model.layers.1.mlp.gate.weight"}) {
    EXPECT_THAT(names, testing::Contains(std::string(name)));
  }
  EXPECT_EQ(config()["torch_dtype"], "float16");
  EXPECT_TRUE(load_model(folder_, at::kCPU).blocks[0].o_proj.weight->dequantise().equal(at::ones({32, 64})));
}

TEST_F(SaveAqlm, ShardsLargeModels) {
  const Model model = quantised_family("llama", kSpec);
  save_aqlm(model, folder_, {.source = family_folder("llama"), .model_card = "hello", .max_shard_bytes = 4096});
  EXPECT_TRUE(fs::exists(folder_ / "model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors"));
  EXPECT_EQ(read_regular_file(folder_ / "README.md", 100, "X"), "hello");
  const at::Tensor ids = at::arange(9).view({1, 9});
  EXPECT_TRUE(at::allclose(load_model(folder_, at::kCPU).forward(ids), model.forward(ids), 1e-4, 1e-4));
}

template <typename Error>
std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_F(SaveAqlm, RefusesWhatTheFormatCannotExpress) {
  const SaveOptions options{.source = family_folder("llama")};
  Model model = load_model(family_folder("llama"), at::kCPU);
  EXPECT_THAT(message<ConfigError>([&] { save_aqlm(model, folder_, options); }), testing::HasSubstr("no linear"));
  model = quantised_family("llama", kSpec);
  quant::CodeSpec other = kSpec;
  other.num_codebooks = 1;
  model.blocks[1].up_proj.weight = quantised_family("llama", other).blocks[1].up_proj.weight;
  EXPECT_THAT(message<ConfigError>([&] { save_aqlm(model, folder_, options); }),
              testing::AllOf(testing::HasSubstr("model.layers.1.mlp.up_proj is aqlm 1x5 g4"),
                             testing::HasSubstr("own format")));
  model.blocks[1].up_proj.weight = std::make_shared<scalar::ScalarWeight>(
      scalar::rtn(at::ones({40, 32}), 32, {.kind = scalar::GridKind::kAwq, .nbits = 4}), "rtn");
  EXPECT_THAT(message<ConfigError>([&] { save_aqlm(model, folder_, options); }), testing::HasSubstr("rtn 4 bits"));
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(SaveAqlm, RefusesValuesBeyondFloat16AndFoldersInUse) {
  const SaveOptions options{.source = family_folder("llama")};
  Model model = quantised_family("llama", kSpec);
  model.blocks[0].input_norm = model.blocks[0].input_norm * 1e6;
  EXPECT_THAT(message<NumericalError>([&] { save_aqlm(model, folder_, options); }),
              testing::HasSubstr("model.layers.0.input_layernorm.weight"));
  EXPECT_FALSE(fs::exists(folder_ / "config.json"));  // not loadable by mistake
  fs::create_directories(folder_);
  write_file_atomically(folder_ / "notes.txt", "mine");
  EXPECT_THAT(message<ConfigError>([&] { save_aqlm(quantised_family("llama", kSpec), folder_, options); }),
              testing::HasSubstr("holds files already"));
}

TEST(ModelCard, NamesModelFiguresAndCommand) {
  const std::string card = model_card({.base_model = "Qwen/Qwen2-0.5B",
                                       .method = "AQLM",
                                       .setting = "2x8 g8",
                                       .figures = {{"perplexity", "12.3"}},
                                       .command = "aqlm-exp quantize --out x",
                                       .software = "aqlm-exp 0.1"},
                                      "aqlm");
  EXPECT_EQ(card.rfind("---\nbase_model: Qwen/Qwen2-0.5B\n", 0), 0U);
  EXPECT_THAT(card, testing::HasSubstr("| perplexity | 12.3 |"));
  EXPECT_THAT(card, testing::HasSubstr("aqlm-exp quantize --out x"));
  EXPECT_THAT(card, testing::HasSubstr("aqlm[gpu,cpu]"));
  const quant::CodeSpec spec{.num_codebooks = 2, .nbits_per_codebook = 8};
  EXPECT_EQ(hub_name("Qwen/Qwen2-0.5B", quantised_family("llama", spec)), "Qwen2-0.5B-AQLM-2Bit-2x8-hf");
}

}  // namespace
}  // namespace aqlm_exp::model
