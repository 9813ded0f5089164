// The scalar methods on a trained model and text it never saw: four bits must cost little.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/backend/backend.h"
#include "framework/eval/evaluate.h"
#include "framework/method/method.h"
#include "framework/text/text_set.h"
#include "framework/text/tokenizer.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::method {
namespace {

constexpr int64_t kSeqLen = 1024, kCalibrationSamples = 16, kWindows = 8;

struct Inputs {
  model::Model model;
  std::vector<at::Tensor> windows;
  Calibration calibration;
};

double perplexity(model::Model& model, const std::vector<at::Tensor>& windows) {
  const config::Node root = config::from_json(R"({"backend":{"type":"dense"}})", "test");
  config::Reader reader(root);
  const auto dense = reader.component("backend", backend::backends(), "");
  model.prepare(*dense);
  return eval::evaluate(model, windows, nullptr).perplexity;
}

TEST(ScalarMethods, FourBitsCostAtMostSixPercentOfPerplexity) {
  const auto folder = test::shared_model("qwen2-17m");
  const auto test_text = test::shared_file("data/novels_test.txt");
  const auto calibration_text = test::shared_file("data/novels_calibration.txt");
  if (folder.empty() || test_text.empty() || calibration_text.empty()) GTEST_SKIP() << test::skip_reason();
  const model::Model original = model::load_model(folder, at::kCPU);
  const text::Tokenizer tokenizer = text::Tokenizer::load(folder);
  const auto windows =
      eval::make_windows(text::load_text_set(test_text, tokenizer).ids,
                         {.name = "gptq", .seq_len = kSeqLen, .stride = kSeqLen, .max_windows = kWindows}, at::kCPU);
  std::vector<int32_t> ids = text::load_text_set(calibration_text, tokenizer).ids;
  ids.resize(static_cast<size_t>(kCalibrationSamples * kSeqLen));
  const Calibration calibration{at::tensor(ids, at::kInt).to(at::kLong).view({kCalibrationSamples, kSeqLen})};

  model::Model plain = original.clone();
  const double exact = perplexity(plain, windows);
  double nearest = 0;
  for (const std::string json :
       {R"({"method":{"type":"rtn"},"quant":{"nbits":4,"group_size":128}})",
        R"({"method":{"type":"hqq"},"quant":{"nbits":4,"group_size":64}})",
        R"({"method":{"type":"gptq"},"quant":{"nbits":4,"group_size":128}})",
        R"({"method":{"type":"awq","search_samples":2},"quant":{"nbits":4,"group_size":128}})"}) {
    const config::Node root = config::from_json(json, "test");
    config::Reader reader(root);
    model::Model model = original.clone();
    Context context(0);
    reader.variant<Method>("method.type", methods())->quantise(model, calibration, context);
    const double found = perplexity(model, windows);
    EXPECT_LT(found, 1.06 * exact) << json;
    EXPECT_GT(found, 0.99 * exact) << json;
    if (nearest == 0) nearest = found;
    EXPECT_LE(found, nearest) << json << " is worse than round-to-nearest";
  }
}

}  // namespace
}  // namespace aqlm_exp::method
