// A build without CUDA: every GPU entry says kNoDevice, so that a backend can be refused before any work.
#include <gtest/gtest.h>

#include "kernels/additive_matvec/additive_cuda.h"

namespace aqlm_exp::additive_matvec {
namespace {

TEST(AdditiveCudaStub, AnswersNoDevice) {
  const AdditiveShape shape{.out_features = 64, .in_features = 64, .num_codebooks = 2};
  EXPECT_EQ(additive_cuda_available(), kernels::Status::kNoDevice);
  EXPECT_EQ(additive_lookup_cuda_supports(shape, 1), kernels::Status::kNoDevice);
  EXPECT_EQ(additive_generic_cuda_f16(shape, {}), kernels::Status::kNoDevice);
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec
