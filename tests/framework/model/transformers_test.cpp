// Folders written here, loaded by Hugging Face transformers with the aqlm package. Needs a Python that has both:
// ./bootstrap --test-tools.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

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

class Transformers : public testing::TestWithParam<std::string> {};

TEST_P(Transformers, LoadsWhatIsWrittenHereAndAgrees) {
  const std::string python = test::test_python("aqlm, accelerate, numba, transformers");
  if (python.empty()) {
    GTEST_SKIP() << "no Python with aqlm, accelerate, numba and transformers; ./bootstrap --test-tools installs it";
  }
  const c10::NoGradGuard no_grad;
  const fs::path folder = fs::path(testing::TempDir()) / fmt::format("transformers_{}_{}", GetParam(), ::getpid());
  fs::remove_all(folder);
  Model model = test::quantised_family(GetParam(), {.num_codebooks = 2, .nbits_per_codebook = 8, .in_group_size = 8});
  // One linear stays dense: it must be found in the list of those not to quantise.
  const auto& dense = model.blocks[0].o_proj.weight;
  model.blocks[0].o_proj.weight =
      std::make_shared<quant::DenseWeight>(dense->dequantise().to(at::kHalf).to(at::kFloat));
  save_aqlm(model, folder, {.source = test::family_folder(GetParam())});
  const at::Tensor ids = (at::arange(24) * 7 % 40).view({1, 24});
  write_ids(folder / "ids.safetensors", ids);
  const std::string script = std::string(AQLM_EXP_SOURCE_DIR) + "/tests/framework/model/transformers_logits.py";
  const std::string command = fmt::format("'{}' '{}' '{}' '{}' '{}' > '{}' 2>&1", python, script, folder.string(),
                                          (folder / "ids.safetensors").string(), (folder / "out.safetensors").string(),
                                          (folder / "log.txt").string());
  ASSERT_EQ(std::system(command.c_str()), 0) << read_regular_file(folder / "log.txt", 1 << 20, "X");
  const auto out = checkpoint::Checkpoint::open(folder / "out.safetensors");
  for (const auto& [name, tokens] : {std::pair<std::string, int64_t>{"logits_short", 4}, {"logits_long", 24}}) {
    const at::Tensor theirs = read_tensor(out, name);
    const at::Tensor ours = model.forward(ids.slice(1, 0, tokens)).squeeze(0);
    const double worst = (ours - theirs).abs().max().item<double>(), largest = theirs.abs().max().item<double>();
    RecordProperty(name, std::to_string(worst / largest));
    fmt::print("{} {}: differs by {:.2e} of the largest logit\n", GetParam(), name, worst / largest);
    EXPECT_LE(worst, 2e-2 * largest) << name;
  }
  fs::remove_all(folder);
}

INSTANTIATE_TEST_SUITE_P(Families, Transformers,
                         testing::Values("qwen2-window", "llama-bias-llama3", "gemma2", "phi3", "qwen3", "mistral"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace aqlm_exp::model
