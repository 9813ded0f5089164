// GPTQ, AWQ and HQQ folders written here, loaded by the packages that publish these layouts. They want Pythons of their
// own (docs/families.md says which packages): gptqmodel pins another torch, and hqq folders are read by transformers 4.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "framework/base/file.h"
#include "framework/checkpoint/safetensors.h"
#include "framework/model/mapped_weight.h"
#include "framework/model/save.h"
#include "framework/scalar/grid.h"
#include "framework/scalar/hqq.h"
#include "framework/scalar/scalar_weight.h"
#include "tests/framework/model/rounded_codes.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::model {
namespace {

namespace fs = std::filesystem;

/// As calibrated act-order leaves it: groups of columns that do not lie side by side.
Make act_order(int64_t nbits, int64_t group_size) {
  return [=](const at::Tensor& weight) {
    scalar::ScalarCode code = grid(nbits, group_size)(weight);
    const int64_t columns = weight.size(1), groups = columns / group_size;
    code.g_idx = (at::arange(columns) * 5).remainder(groups).to(at::kInt);
    return code;
  };
}

Make hqq(int64_t nbits, int64_t axis) {
  return [=](const at::Tensor& weight) {
    scalar::HqqOptions options;
    options.nbits = nbits;
    options.group_size = 64;
    options.axis = axis;
    options.iterations = 2;
    return scalar::hqq(weight, options).code;
  };
}

struct Case {
  std::string name, method, python_variable, modules;
  ScalarFormat format;
  Make make;
};

void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

constexpr const char* kGptqModel = "gptqmodel, optimum, transformers";
constexpr const char* kHqq = "hqq, transformers; assert int(transformers.__version__[0]) < 5";

std::vector<Case> cases() {
  const auto gptq = [](const std::string& name, Make make) {
    return Case{name, "gptq", "AQLM_EXP_GPTQMODEL_PYTHON", kGptqModel, ScalarFormat::kGptq, std::move(make)};
  };
  using scalar::GridKind;
  std::vector<Case> all = {gptq("gptq_4bits", grid(4, 32)),
                           gptq("gptq_4bits_symmetric", grid(4, 32, true)),
                           gptq("gptq_3bits", grid(3, 32)),
                           gptq("gptq_8bits", grid(8, -1)),
                           gptq("gptq_2bits_act_order", act_order(2, 32)),
                           {"awq_4bits", "awq", "AQLM_EXP_GPTQMODEL_PYTHON", kGptqModel, ScalarFormat::kAwq,
                            grid(4, 32, false, GridKind::kAwq)}};
  for (const int64_t nbits : {1, 2, 3, 4, 8}) {
    all.push_back({fmt::format("hqq_{}bits", nbits), "hqq", "AQLM_EXP_HQQ_PYTHON", kHqq, ScalarFormat::kHqq,
                   hqq(nbits, nbits == 4 ? 0 : 1)});
  }
  return all;
}

class PublishedLoaders : public testing::TestWithParam<Case> {};

TEST_P(PublishedLoaders, ReadScalarFoldersAndAgree) {
  const Case& one = GetParam();
  const std::string python = test::test_python(one.modules, one.python_variable.c_str());
  if (python.empty()) {
    GTEST_SKIP() << one.python_variable << " names no Python with " << one.modules << ", see docs/families.md";
  }
  const c10::NoGradGuard no_grad;
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("loaders_{}_{}", one.name, ::getpid());
  fs::remove_all(folder);
  Model model = load_model(test::embedded_model(), at::kCPU);
  for (Linear* linear : model.linears()) {
    linear->weight = std::make_shared<scalar::ScalarWeight>(one.make(linear->weight->dequantise()), one.method);
  }
  save_scalar(model, one.format, folder, {.source = test::embedded_model()});
  const at::Tensor ids = (at::arange(24) * 71 % 1000).view({1, 24});
  const checkpoint::TensorToWrite tensor{"input_ids", checkpoint::Dtype::kI64, ids.sizes().vec(),
                                         [&](const ByteSink& sink) {
                                           sink({static_cast<const std::byte*>(ids.data_ptr()), ids.nbytes()});
                                         }};
  checkpoint::write_safetensors(folder / "ids.safetensors", std::span(&tensor, 1));
  const fs::path log = folder / "log.txt";
  const std::string command =
      fmt::format("'{}' '{}/tests/framework/model/scalar_logits.py' '{}' {} > '{}' 2>&1", python,
                  std::string(AQLM_EXP_SOURCE_DIR), folder.string(), one.method, log.string());
  ASSERT_EQ(std::system(command.c_str()), 0) << read_regular_file(log, 1 << 20, "X");
  const at::Tensor theirs = read_tensor(checkpoint::Checkpoint::open(folder / "out.safetensors"), "logits");
  const at::Tensor ours = model.forward(ids).squeeze(0);
  const double worst = (ours - theirs).abs().max().item<double>(), largest = theirs.abs().max().item<double>();
  RecordProperty("difference", std::to_string(worst / largest));
  fmt::print("{}: differs by {:.2e} of the largest logit\n", one.name, worst / largest);
  EXPECT_LE(worst, 2e-2 * largest);
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Formats, PublishedLoaders, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace aqlm_exp::model
