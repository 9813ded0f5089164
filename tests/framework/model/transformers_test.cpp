// Folders written here, loaded by Hugging Face transformers with the aqlm package. Needs a Python that has both:
// ./bootstrap --test-tools.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "framework/checkpoint/safetensors.h"
#include "framework/model/mapped_weight.h"
#include "framework/model/save.h"
#include "framework/quant/additive_weight.h"
#include "tests/framework/model/quantised_families.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::model {
namespace {

namespace fs = std::filesystem;

void write_ids(const fs::path& path, const at::Tensor& ids) {
  const checkpoint::TensorToWrite tensor{"input_ids", checkpoint::Dtype::kI64, ids.sizes().vec(),
                                         [&](const ByteSink& sink) {
                                           sink({static_cast<const std::byte*>(ids.data_ptr()), ids.nbytes()});
                                         }};
  checkpoint::write_safetensors(path, std::span(&tensor, 1));
}

const std::vector<std::string> kFamilies = {"qwen2-window", "llama-bias-llama3", "gemma2", "phi3", "qwen3", "mistral"};

/// All folders are written first and read by one Python process.
class Transformers : public testing::TestWithParam<std::string> {
 protected:
  static fs::path folder_of(const std::string& family) { return *root_ / family; }
  static at::Tensor input_ids() { return (at::arange(24) * 7 % 40).view({1, 24}); }

  static void SetUpTestSuite() {
    const std::string python = test::test_python("aqlm, accelerate, numba, transformers");
    if (python.empty()) return;
    root_ = new fs::path(fs::path(testing::TempDir()) / fmt::format("transformers_{}", ::getpid()));
    models_ = new std::map<std::string, Model>;
    std::string command =
        fmt::format("'{}' '{}/tests/framework/model/transformers_logits.py'", python, std::string(AQLM_EXP_SOURCE_DIR));
    for (const std::string& family : kFamilies) {
      models_->emplace(family, write(family));
      command += fmt::format(" '{}'", folder_of(family).string());
    }
    const fs::path log = *root_ / "log.txt";
    const int status = std::system(fmt::format("{} > '{}' 2>&1", command, log.string()).c_str());
    const std::string text = read_regular_file(log, 1 << 20, "X");
    fmt::print("{}", text);
    ASSERT_EQ(status, 0);
  }
  static void TearDownTestSuite() {
    if (root_ != nullptr) fs::remove_all(*root_);
    delete root_;
    delete models_;
  }

  static Model write(const std::string& family) {
    const c10::NoGradGuard no_grad;
    Model model = test::quantised_family(family, {.num_codebooks = 2, .nbits_per_codebook = 8, .in_group_size = 8});
    // One linear stays dense: it must be found in the list of those not to quantise.
    const auto& dense = model.blocks[0].o_proj.weight;
    model.blocks[0].o_proj.weight =
        std::make_shared<quant::DenseWeight>(dense->dequantise().to(at::kHalf).to(at::kFloat));
    save_aqlm(model, folder_of(family), {.source = test::family_folder(family)});
    write_ids(folder_of(family) / "ids.safetensors", input_ids());
    return model;
  }

  static fs::path* root_;
  static std::map<std::string, Model>* models_;
};

fs::path* Transformers::root_ = nullptr;
std::map<std::string, Model>* Transformers::models_ = nullptr;

TEST_P(Transformers, LoadsWhatIsWrittenHereAndAgrees) {
  if (root_ == nullptr) {
    GTEST_SKIP() << "no Python with aqlm, accelerate, numba and transformers; ./bootstrap --test-tools installs it";
  }
  const c10::NoGradGuard no_grad;
  ASSERT_TRUE(fs::exists(folder_of(GetParam()) / "out.safetensors")) << "transformers did not get this far";
  const auto out = checkpoint::Checkpoint::open(folder_of(GetParam()) / "out.safetensors");
  for (const auto& [name, tokens] : {std::pair<std::string, int64_t>{"logits_short", 4}, {"logits_long", 24}}) {
    const at::Tensor theirs = read_tensor(out, name);
    const at::Tensor ours = models_->at(GetParam()).forward(input_ids().slice(1, 0, tokens)).squeeze(0);
    const double worst = (ours - theirs).abs().max().item<double>(), largest = theirs.abs().max().item<double>();
    RecordProperty(name, std::to_string(worst / largest));
    fmt::print("{} {}: differs by {:.2e} of the largest logit\n", GetParam(), name, worst / largest);
    EXPECT_LE(worst, 2e-2 * largest) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Transformers, testing::ValuesIn(kFamilies), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace aqlm_exp::model
