#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "framework/backend/device_clock.h"
#include "framework/backend/profile.h"
#include "framework/base/error.h"
#include "framework/model/model.h"
#include "tests/framework/backend/weights.h"
#include "tests/framework/support/layers.h"
#include "tests/framework/support/models.h"

namespace aqlm_exp::backend {
namespace {

#define AQLM_EXP_NEEDS_GPU()               \
  std::string why;                         \
  if (!has_gpu(&why)) GTEST_SKIP() << why; \
  const at::Device device = at::Device(at::kCUDA, 0)

// The float16 answer's own rounding is 2e-4, two codewords added in float16 give 3e-4 (docs/kernels.md section 3), the
// worst of up to 130 tokens about twice that; the weight's own rounding in dense chunks adds 2e-4, NF4's scales 3e-4.
constexpr double kTolerance = 1.2e-3;
// bfloat16 keeps 8 bits: the answer's rounding is 2^-9 / sqrt(3) = 1.1e-3 on average.
constexpr double kBfloat16Tolerance = 3.5e-3;

void check(const std::string& backend, const WeightPtr& weight, at::Device device) {
  const at::Tensor bias = test::gaussian({weight->out_features()}, 3).to(at::kHalf).to(device, at::kFloat);
  const auto op = make_backend(backend)->prepare(weight, bias);
  for (const int64_t tokens : {1, 2, 3, 5, 8, 9, 16, 17, 32, 33, 64, 65, 130}) {
    const at::Tensor x = test::gaussian({tokens, weight->in_features()}, 4).to(at::kBFloat16).to(device, at::kHalf);
    const std::string what = weight->format() + " " + std::to_string(tokens);
    EXPECT_LE(worst_error(*op, *weight, bias, x), kTolerance) << what;
    EXPECT_TRUE(op->forward(x).equal(op->forward(x))) << what;
    EXPECT_LE(worst_error(*op, *weight, bias, x.to(at::kFloat)), kTolerance) << what;
    EXPECT_LE(worst_error(*op, *weight, bias, x.to(at::kBFloat16)), kBfloat16Tolerance) << what;
  }
}

TEST(CudaBackend, RunsAdditiveCodesOfUpToEightBits) {
  AQLM_EXP_NEEDS_GPU();
  for (const quant::CodeSpec& spec : {quant::CodeSpec{1, 8, 8, 1},
                                      {2, 8, 8, 1},
                                      {3, 8, 8, 1},
                                      {4, 7, 8, 1},
                                      {5, 8, 8, 1},
                                      {8, 8, 8, 1},
                                      {2, 8, 16, 1},
                                      {1, 4, 16, 1},
                                      {6, 8, 16, 1}}) {
    check("cuda", random_additive(spec, 300, 512 + 48, device), device);
    check("cuda", random_additive(spec, 16, 64, device), device);
  }
  check("cuda", random_additive({2, 8, 8, 1}, 4100, 4096, device), device);
}

TEST(CudaBackend, RunsOneOrTwoLargeCodebooks) {
  AQLM_EXP_NEEDS_GPU();
  for (const quant::CodeSpec& spec : {quant::CodeSpec{1, 16, 8, 1}, {1, 12, 16, 1}, {2, 9, 8, 1}, {2, 13, 16, 1}}) {
    check("cuda", random_additive(spec, 300, 560, device), device);
  }
}

TEST(CudaBackend, GenericRunsEveryAdditiveCode) {
  AQLM_EXP_NEEDS_GPU();
  for (const quant::CodeSpec& spec :
       {quant::CodeSpec{3, 12, 8, 1}, {2, 8, 8, 1}, {1, 5, 4, 4}, {2, 8, 8, 2}, {1, 16, 32, 1}, {1, 6, 6, 1}}) {
    check("cuda_generic", random_additive(spec, 304, 192, device), device);
  }
}

TEST(CudaBackend, RunsScalarCodes) {
  AQLM_EXP_NEEDS_GPU();
  for (const ScalarKind& kind : {ScalarKind{4, 128},
                                 {3, 64},
                                 {2, 32},
                                 {4, -1},
                                 {4, 64, true},
                                 {3, 256, true},
                                 {4, 64, false, true},
                                 {2, 64, true, true}}) {
    check("cuda", random_scalar(kind, 301, 576, device), device);
  }
  check("cuda", random_nf4(64, 130, 576, device), device);
}

TEST(CudaBackend, FusesLinearsThatShareAnInput) {
  AQLM_EXP_NEEDS_GPU();
  const auto backend = make_backend("cuda");
  std::vector<std::shared_ptr<const LinearOp>> ops;
  std::vector<WeightPtr> weights;
  for (const int64_t rows : {512, 128, 144}) {
    weights.push_back(random_additive({2, 8, 8, 1}, rows, 512, device));
    ops.push_back(backend->prepare(weights.back(), {}));
  }
  const auto group = backend->prepare_group(ops);
  EXPECT_EQ(group->kernel_for(1), "cuda_lookup_fused");
  for (const int64_t tokens : {1, 2, 3, 40, 100}) {
    for (const at::ScalarType type : {at::kHalf, at::kBFloat16, at::kFloat}) {
      const at::Tensor x = test::gaussian({1, tokens, 512}, 9).to(device, type);
      const std::vector<at::Tensor> y = group->forward(x);
      ASSERT_EQ(y.size(), 3u);
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(y[i].scalar_type(), type);
        EXPECT_TRUE(at::allclose(y[i], ops[i]->forward(x), 4e-3, 4e-3)) << tokens << " " << i;
      }
    }
  }
}

TEST(CudaBackend, FollowsTheCurrentStreamAndIsOrderedByIt) {
  AQLM_EXP_NEEDS_GPU();
  const WeightPtr weight = random_additive({2, 8, 8, 1}, 4096, 4096, device);
  const auto op = make_backend("cuda")->prepare(weight, {});
  const at::Tensor first = test::gaussian({1, 4096}, 1).to(device, at::kHalf);
  const at::Tensor second = test::gaussian({1, 4096}, 2).to(device, at::kHalf);
  const at::Tensor alone = op->forward(second);
  wait_for(device);
  at::Tensor x = first.clone();
  const at::Tensor busy = at::ones({4096, 4096}, x.options());
  for (int i = 0; i < 20; ++i) at::mm(busy, busy);
  x.copy_(second);  // queued behind the products; the kernel must see it
  const at::Tensor y = op->forward(x);
  x.copy_(first);  // and must have read it before this
  EXPECT_TRUE(y.equal(alone));
}

TEST(CudaBackend, RunsAModelLikeTheDenseBackend) {
  AQLM_EXP_NEEDS_GPU();
  model::Model model = model::load_model(test::embedded_model(), device);
  for (model::Linear* linear : model.linears()) {
    linear->weight = std::const_pointer_cast<quant::Weight>(
        random_additive({2, 8, 8, 1}, linear->weight->out_features(), linear->weight->in_features(), device));
  }
  const at::Tensor ids = (at::arange(24) * 7 % 500).view({1, 24}).to(device);
  model.prepare(*make_backend("dense"));
  const at::Tensor dense = model.forward(ids);
  for (const char* name : {"cuda", "cuda_generic", "auto"}) {
    model.prepare(*make_backend(name));
    const at::Tensor found = model.forward(ids);
    EXPECT_LE(((found - dense).norm() / dense.norm()).item<double>(), 1e-2) << name;
  }
  model.prepare(*make_backend("cuda"));
  model.release_weights();
  model::KvCache cache = model.make_cache(1, 32);
  Profile profile(device);
  model.forward_cached(ids, cache);
  const at::Tensor last = model.logits(model.forward_cached(ids.slice(1, 0, 1), cache));
  const auto shares = profile.shares();
  ASSERT_GE(shares.size(), 3u);
  double sum = 0;
  bool fused = false;
  for (const Profile::Share& share : shares) {
    sum += share.fraction;
    fused = fused || share.kernel == "cuda_lookup_fused";
  }
  EXPECT_NEAR(sum, 1.0, 1e-6);
  EXPECT_TRUE(fused);
  EXPECT_TRUE(at::isfinite(last).all().item<bool>());
}

}  // namespace
}  // namespace aqlm_exp::backend
