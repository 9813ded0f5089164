#include <gtest/gtest.h>

#include "kernels/code_search/code_search_cuda.h"

namespace aqlm_exp::code_search {
namespace {

TEST(CodeSearchCudaStub, SaysThatThereIsNoDevice) {
  EXPECT_EQ(code_search_cuda_available(), kernels::Status::kNoDevice);
  EXPECT_EQ(nearest_cuda_supports({1, 1, 4, 8}), kernels::Status::kNoDevice);
  EXPECT_EQ(sweep_cuda_supports({1, 1, 8, 1, 4}, SweepKind::kErrorFeedback, SweepSearch::kExact, 0),
            kernels::Status::kNoDevice);
}

}  // namespace
}  // namespace aqlm_exp::code_search
