#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/model/mapped_weight.h"
#include "framework/model/quantised_layouts.h"
#include "framework/model/save.h"
#include "framework/scalar/grid.h"
#include "framework/scalar/hqq.h"
#include "framework/scalar/scalar_weight.h"
#include "tests/framework/model/quantised_families.h"
#include "tests/framework/model/rounded_codes.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::model {
namespace {

namespace fs = std::filesystem;
using test::family_folder;

constexpr const char* kFamily = "llama-bias-llama3";  // hidden 32, heads 4 x 12, MLP 40, biases everywhere

Model quantised(const std::string& method, const Make& make, const std::string& family = kFamily) {
  Model model = load_model(family_folder(family), at::kCPU);
  for (Linear* linear : model.linears()) {
    linear->weight = std::make_shared<scalar::ScalarWeight>(make(linear->weight->dequantise()), method);
  }
  return model;
}

class SaveScalar : public testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    folder_ = fs::path(testing::TempDir()) / ("save_scalar_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  nlohmann::json quantisation() const {
    return nlohmann::json::parse(read_regular_file(folder_ / "config.json", 1 << 20, "J"))["quantization_config"];
  }
  at::Tensor stored(const std::string& name) const { return read_tensor(checkpoint::Checkpoint::open(folder_), name); }

  void expect_same(const Model& model) const {
    const Model read = load_model(folder_, at::kCPU);
    const auto wrote = model.linears(), got = read.linears();
    ASSERT_EQ(wrote.size(), got.size());
    for (size_t i = 0; i < wrote.size(); ++i) {
      EXPECT_TRUE(got[i]->weight->dequantise().equal(wrote[i]->weight->dequantise())) << got[i]->name;
      EXPECT_EQ(got[i]->weight->bits().total_bits(), wrote[i]->weight->bits().total_bits()) << got[i]->name;
    }
    const at::Tensor ids = (at::arange(12) * 7 % 40).view({1, 12});
    EXPECT_TRUE(at::allclose(read.forward(ids), model.forward(ids), 1e-4, 1e-4));
  }

  const c10::NoGradGuard no_grad_;
  fs::path folder_;
};

/// Bits [position, position + nbits) of a column of words, lowest first.
int64_t field(const at::Tensor& words, int64_t column, int64_t position, int64_t nbits) {
  int64_t value = 0;
  for (int64_t bit = 0; bit < nbits; ++bit) {
    const int64_t at_bit = position + bit;
    const auto word = static_cast<uint32_t>(words[at_bit / 32][column].item<int32_t>());
    value |= static_cast<int64_t>(word >> (at_bit % 32) & 1) << bit;
  }
  return value;
}

TEST_F(SaveScalar, GptqIsWhatAutoGptqDequantises) {
  for (const int64_t nbits : {4, 8}) {
    for (const bool symmetric : {false, true}) {
      const Model model = quantised("gptq", grid(nbits, 8, symmetric));
      save_scalar(model, ScalarFormat::kGptq, folder_, {.source = family_folder(kFamily)});
      const auto config = quantisation();
      EXPECT_EQ(config["bits"], nbits);
      EXPECT_EQ(config["group_size"], 8);
      EXPECT_EQ(config["sym"], symmetric);
      const int64_t less = config["checkpoint_format"] == "gptq" ? 1 : 0;
      const std::string path = "model.layers.1.mlp.down_proj";
      const at::Tensor qweight = stored(path + ".qweight"), qzeros = stored(path + ".qzeros").t().contiguous();
      const at::Tensor scales = stored(path + ".scales").to(at::kFloat), groups = stored(path + ".g_idx");
      const at::Tensor expected = model.blocks[1].down_proj.weight->dequantise();  // [32, 40]
      EXPECT_EQ(qweight.sizes().vec(), (std::vector<int64_t>{40 * nbits / 32, 32}));
      for (int64_t in = 0; in < 40; ++in) {
        const int64_t group = groups[in].item<int64_t>();
        for (int64_t out = 0; out < 32; ++out) {
          const int64_t mask = (1 << nbits) - 1;
          const int64_t zero = (field(qzeros, group, out * nbits, nbits) + less) & mask;
          const int64_t code = field(qweight, out, in * nbits, nbits);
          const auto value = static_cast<float>(code - zero) * scales[group][out].item<float>();
          ASSERT_EQ(value, expected[out][in].item<float>()) << nbits << " " << symmetric << " " << out << " " << in;
        }
      }
      expect_same(model);
      fs::remove_all(folder_);
    }
  }
}

TEST_F(SaveScalar, GptqKeepsActOrderAndZeroPointsOfNought) {
  const Make positive = [](const at::Tensor& weight) {  // an all-positive group has zero point 0
    scalar::ScalarCode code = grid(4, 8)(weight.abs());
    code.g_idx = at::arange(weight.size(1)).flip(0).floor_divide(8).to(at::kInt);
    return code;
  };
  const Model model = quantised("gptq", positive);
  save_scalar(model, ScalarFormat::kGptq, folder_, {.source = family_folder(kFamily)});
  EXPECT_EQ(quantisation()["checkpoint_format"], "gptq_v2");
  EXPECT_EQ(quantisation()["desc_act"], true);
  expect_same(model);
}

TEST_F(SaveScalar, GptqOfThreeBitsIsOneStreamOfBits) {
  const Model model = quantised("gptq", grid(3, -1), "mistral");  // hidden 32, heads 4 x 16
  Model part = model;
  for (DecoderBlock& block : part.blocks) {  // 40 columns of 3 bits fill no words
    for (Linear* linear : {&block.gate_proj, &block.up_proj, &block.down_proj}) {
      linear->weight = std::make_shared<quant::DenseWeight>(linear->weight->dequantise().to(at::kHalf).to(at::kFloat));
    }
  }
  save_scalar(part, ScalarFormat::kGptq, folder_, {.source = family_folder("mistral")});
  const at::Tensor words = stored("model.layers.0.self_attn.q_proj.qweight");
  const at::Tensor codes = dynamic_cast<const scalar::ScalarWeight&>(*model.blocks[0].q_proj.weight).code().codes;
  for (int64_t in = 0; in < 32; ++in) EXPECT_EQ(field(words, 5, 3 * in, 3), codes[5][in].item<int64_t>());
  EXPECT_EQ(quantisation()["group_size"], -1);
  EXPECT_TRUE(quantisation()["dynamic"].contains("-:^model\\.layers\\.0\\.mlp\\.gate_proj$"));
  expect_same(part);
  fs::remove_all(folder_);
  EXPECT_THROW(save_scalar(model, ScalarFormat::kGptq, folder_, {.source = family_folder("mistral")}), ConfigError);
}

TEST_F(SaveScalar, AwqIsWhatAutoAwqDequantises) {
  const Model model = quantised("awq", grid(4, 8, false, scalar::GridKind::kAwq));
  save_scalar(model, ScalarFormat::kAwq, folder_, {.source = family_folder(kFamily)});
  EXPECT_EQ(quantisation()["version"], "gemm");
  const std::string path = "model.layers.0.self_attn.q_proj";  // [48, 32]
  const at::Tensor qweight = stored(path + ".qweight"), qzeros = stored(path + ".qzeros");
  const at::Tensor scales = stored(path + ".scales").to(at::kFloat);
  const at::Tensor expected = model.blocks[0].q_proj.weight->dequantise();
  EXPECT_EQ(qweight.sizes().vec(), (std::vector<int64_t>{32, 6}));
  const int64_t position[8] = {0, 4, 1, 5,
                               2, 6, 3, 7};  // field in which column c of eight lies: AutoAWQ's reverse order
  const auto unpacked = [&](const at::Tensor& words, int64_t row, int64_t column) {
    const auto word = static_cast<uint32_t>(words[row][column / 8].item<int32_t>());
    return static_cast<float>(word >> (4 * position[column % 8]) & 15);
  };
  for (int64_t in = 0; in < 32; ++in) {
    for (int64_t out = 0; out < 48; ++out) {
      const float value =
          (unpacked(qweight, in, out) - unpacked(qzeros, in / 8, out)) * scales[in / 8][out].item<float>();
      ASSERT_EQ(value, expected[out][in].item<float>()) << out << " " << in;
    }
  }
  expect_same(model);
}

TEST_F(SaveScalar, HqqComesBackForAllBitsAndAxes) {
  for (const int64_t nbits : {1, 2, 3, 4, 8}) {
    for (const int64_t axis : {0, 1}) {
      const Model model = quantised("hqq", [&](const at::Tensor& weight) {
        scalar::HqqOptions options;
        options.nbits = nbits;
        options.group_size = 8;
        options.axis = axis;
        options.iterations = 2;
        return scalar::hqq(weight, options).code;
      });
      save_scalar(model, ScalarFormat::kHqq, folder_, {.source = family_folder(kFamily)});
      expect_same(model);
      fs::remove_all(folder_);
    }
  }
}

TEST(PackHqq, IsThatOfThePackage) {
  // 4 bits: the first half of the rows in the high half of the bytes (hqq BitPack.pack_4bit_u8).
  const at::Tensor codes = at::arange(8).view({4, 2}).to(at::kByte);
  EXPECT_TRUE(pack_hqq(codes, 4).equal(
      at::tensor({0 * 16 + 4, 1 * 16 + 5, 2 * 16 + 6, 3 * 16 + 7}).view({2, 2}).to(at::kByte)));
  for (const int64_t nbits : {1, 2, 3, 4, 8}) {
    const at::Tensor some = (at::arange(48) * 7).remainder(1 << nbits).view({24, 2}).to(at::kByte);
    EXPECT_TRUE(unpack_hqq(pack_hqq(some, nbits), nbits, 24).equal(some)) << nbits;
  }
}

TEST_F(SaveScalar, OurOwnFormatHoldsAMixture) {
  Model model = quantised("gptq", grid(3, 16));
  const Model additive =
      test::quantised_family(kFamily, {.num_codebooks = 2, .nbits_per_codebook = 5, .in_group_size = 4});
  model.blocks[0].q_proj.weight = additive.blocks[0].q_proj.weight;
  model.blocks[0].down_proj.weight = quantised("gptq", grid(8, 5, true)).blocks[0].down_proj.weight;
  model.blocks[1].o_proj.weight = quantised("hqq",
                                            [](const at::Tensor& weight) {
                                              return scalar::hqq(weight, {.nbits = 2, .group_size = 8, .axis = 0}).code;
                                            })
                                      .blocks[1]
                                      .o_proj.weight;
  model.blocks[1].up_proj.weight =
      std::make_shared<quant::DenseWeight>(model.blocks[1].up_proj.weight->dequantise().to(at::kHalf).to(at::kFloat));
  EXPECT_NE(aqlm_refusal(model), "");
  EXPECT_THAT(scalar_refusal(model, ScalarFormat::kGptq), testing::HasSubstr("own format"));
  EXPECT_EQ(own_refusal(model), "");
  save_own(model, folder_, {.source = family_folder(kFamily)});
  const Model read = load_model(folder_, at::kCPU);
  for (size_t i = 0; i < model.linears().size(); ++i) {
    const Linear *wrote = model.linears()[i], *got = read.linears()[i];
    EXPECT_EQ(got->weight->format(), wrote->weight->format()) << wrote->name;
    EXPECT_TRUE(got->weight->dequantise().equal(wrote->weight->dequantise())) << wrote->name;
  }
}

TEST_F(SaveScalar, RoutersAreNamedAsNotQuantised) {
  const auto make = [](ScalarFormat format) -> std::pair<std::string, Make> {
    if (format == ScalarFormat::kGptq) return {"gptq", grid(8, 4)};
    if (format == ScalarFormat::kAwq) return {"awq", grid(4, 4, false, scalar::GridKind::kAwq)};
    return {"hqq", [](const at::Tensor& weight) {
              return scalar::hqq(weight, {.nbits = 4, .group_size = 4, .iterations = 2}).code;
            }};
  };
  for (const auto format : {ScalarFormat::kGptq, ScalarFormat::kAwq, ScalarFormat::kHqq}) {
    const auto [method, quantiser] = make(format);
    const std::string family = format == ScalarFormat::kHqq ? "qwen2-moe" : "mixtral";
    Model model = quantised(method, quantiser, family);
    for (DecoderBlock& block : model.blocks) {  // stored in float16
      for (at::Tensor* tensor : block.dense_tensors()) *tensor = tensor->to(at::kHalf).to(at::kFloat);
    }
    save_scalar(model, format, folder_, {.source = family_folder(family)});
    const std::string text = quantisation().dump();
    const std::string module = family == "mixtral" ? "block_sparse_moe" : "mlp";
    const std::string layer = method == "gptq" ? "layers\\\\.1\\\\." : "layers.0.";
    EXPECT_THAT(text, testing::HasSubstr(layer + module + (method == "gptq" ? "\\\\.gate$" : ".gate\""))) << method;
    expect_same(model);
    fs::remove_all(folder_);
  }
}

TEST_F(SaveScalar, RefusesWhatALayoutCannotExpress) {
  const SaveOptions options{.source = family_folder(kFamily)};
  const auto refusal = [&](const Model& model, ScalarFormat format) { return scalar_refusal(model, format); };
  EXPECT_THAT(refusal(quantised("rtn", grid(3, 8)), ScalarFormat::kAwq), testing::HasSubstr("4 bits"));
  EXPECT_THAT(refusal(quantised("rtn", grid(5, 8)), ScalarFormat::kGptq), testing::HasSubstr("2, 3, 4 or 8"));
  EXPECT_THAT(refusal(quantised("rtn", grid(4, 8)), ScalarFormat::kHqq), testing::HasSubstr("real zero points"));
  Model mixed = quantised("rtn", grid(4, 8));
  mixed.blocks[1].k_proj.weight = quantised("rtn", grid(4, 16)).blocks[1].k_proj.weight;
  EXPECT_THAT(refusal(mixed, ScalarFormat::kGptq), testing::HasSubstr("one setting"));
  EXPECT_THROW(save_scalar(mixed, ScalarFormat::kGptq, folder_, options), ConfigError);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(SaveScalar, DamagedFoldersAreRefused) {
  const Model model = quantised("gptq", grid(4, 8));
  save_scalar(model, ScalarFormat::kGptq, folder_, {.source = family_folder(kFamily)});
  auto config = nlohmann::json::parse(read_regular_file(folder_ / "config.json", 1 << 20, "J"));
  const auto error_with = [&](const std::string& key, const nlohmann::json& value) -> std::string {
    auto changed = config;
    changed["quantization_config"][key] = value;
    write_file_atomically(folder_ / "config.json", changed.dump());
    try {
      load_model(folder_, at::kCPU);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(error_with("bits", 8), testing::HasSubstr("has shape"));
  EXPECT_THAT(error_with("bits", 5), testing::HasSubstr("known: 2, 3, 4, 8"));
  EXPECT_THAT(error_with("group_size", 16), testing::HasSubstr("has shape"));
  EXPECT_THAT(error_with("group_size", 0), testing::HasSubstr("got 0"));
  EXPECT_THAT(error_with("checkpoint_format", "marlin"), testing::HasSubstr("gptq_v2"));
  EXPECT_THAT(error_with("quant_method", "bitsandbytes"), testing::HasSubstr("known: aqlm, gptq"));
}

}  // namespace
}  // namespace aqlm_exp::model
