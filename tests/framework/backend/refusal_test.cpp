#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "framework/base/error.h"
#include "framework/scalar/int8.h"
#include "kernels/additive_matvec/additive_cuda.h"
#include "tests/framework/backend/weights.h"
#include "tests/framework/support/layers.h"

namespace aqlm_exp::backend {
namespace {

using quant::Scheme;
using ::testing::HasSubstr;

Scheme additive(int64_t books, int64_t bits, int64_t group = 8, int64_t out_group = 1) {
  return {.kind = Scheme::Kind::kAdditive, .code = {books, bits, group, out_group}};
}
Scheme scalar(int64_t nbits, int64_t group_size, int64_t axis = 1) {
  return {.kind = Scheme::Kind::kScalar, .nbits = nbits, .group_size = group_size, .axis = axis};
}

TEST(Refusal, NamesTheBackendThatRunsTheScheme) {
  const auto lut = make_backend("cpu_lut");
  EXPECT_THAT(lut->refusal(additive(1, 16), at::kCPU), HasSubstr("cpu_generic"));
  EXPECT_EQ(lut->refusal(additive(2, 8), at::kCPU), "");
  EXPECT_THAT(lut->refusal(scalar(4, 128), at::kCPU), HasSubstr("use backend=cpu"));
  const auto cpu = make_backend("cpu");
  EXPECT_EQ(cpu->refusal(additive(1, 16), at::kCPU), "");
  EXPECT_EQ(cpu->refusal(scalar(3, 64), at::kCPU), "");
  EXPECT_THAT(cpu->refusal(scalar(8, 128), at::kCPU), HasSubstr("dequantise"));
  EXPECT_THAT(cpu->refusal(scalar(4, 40), at::kCPU), HasSubstr("multiple of 16"));
  EXPECT_THAT(cpu->refusal(scalar(4, 64, 0), at::kCPU), HasSubstr("axis 0"));
  EXPECT_THAT(cpu->refusal(Scheme{.kind = Scheme::Kind::kInt8}, at::kCPU), HasSubstr("llm_int8"));
  EXPECT_THAT(cpu->refusal(additive(2, 8), at::Device(at::kCUDA, 0)), HasSubstr("backend=cuda"));
}

TEST(Refusal, CudaSaysWhatToUseInItsPlace) {
  const at::Device gpu(at::kCUDA, 0);
  const auto cuda = make_backend("cuda");
  if (additive_matvec::additive_cuda_available() != kernels::Status::kOk) {
    EXPECT_THAT(cuda->refusal(additive(2, 8), gpu), HasSubstr("use backend=cpu"));
    EXPECT_THAT(make_backend("cuda_generic")->refusal(additive(2, 8), gpu), HasSubstr("use backend=cpu"));
    EXPECT_THROW(cuda->prepare(random_additive({2, 8, 8, 1}, 16, 64), {}), ConfigError);
    return;
  }
  EXPECT_THAT(cuda->refusal(additive(3, 12), gpu), HasSubstr("cuda_generic"));
  EXPECT_EQ(make_backend("cuda_generic")->refusal(additive(3, 12), gpu), "");
  EXPECT_EQ(cuda->refusal(additive(1, 16), gpu), "");
  EXPECT_EQ(cuda->refusal(additive(8, 8), gpu), "");
  EXPECT_THAT(cuda->refusal(additive(2, 8, 4), gpu), HasSubstr("cuda_generic"));
  EXPECT_THAT(cuda->refusal(additive(2, 8), at::kCPU), HasSubstr("device=cuda"));
  EXPECT_THAT(cuda->refusal(scalar(8, 128), gpu), HasSubstr("dequantise"));
  EXPECT_THAT(make_backend("cuda_generic")->refusal(scalar(4, 128), gpu), HasSubstr("use backend=cuda"));
}

TEST(Refusal, ComesFromTheWeightItselfToo) {
  const auto odd = random_scalar({4, 40}, 8, 80);
  EXPECT_THAT(make_backend("cpu")->refusal(*odd), HasSubstr("multiple of 16"));
  EXPECT_THROW(make_backend("cpu")->prepare(odd, {}), ConfigError);
  EXPECT_THAT(make_backend("cpu")->refusal(*random_nf4(64, 2, 96)), HasSubstr("cross rows"));
  const auto int8 = std::make_shared<aqlm_exp::scalar::Int8Weight>(test::gaussian({8, 16}, 1));
  for (const char* name : {"cpu", "auto", "dense", "dequantise"}) {
    EXPECT_THAT(make_backend(name)->refusal(*int8), HasSubstr("llm_int8")) << name;
  }
}

TEST(Refusal, AutoTakesEverythingThatDequantiseTakes) {
  const auto chosen = make_backend("auto");
  for (const Scheme& scheme : {additive(3, 12), additive(1, 16, 4, 4), scalar(8, 128), scalar(1, 40, 0)}) {
    EXPECT_EQ(chosen->refusal(scheme, at::kCPU), "") << scheme.str();
  }
}

}  // namespace
}  // namespace aqlm_exp::backend
