// The CUDA entries in a build without CUDA: nothing is supported, and the reason is kNoDevice.
#include "kernels/code_search/code_search_cuda.h"

namespace aqlm_exp::code_search {

using kernels::Status;

Status code_search_cuda_available() noexcept { return Status::kNoDevice; }
Status nearest_cuda_supports(const NearestShape&) noexcept { return Status::kNoDevice; }
int64_t nearest_cuda_workspace_bytes(const NearestShape&) noexcept { return 0; }
Status nearest_cuda(const NearestShape&, const NearestCall&, const CudaRun&) noexcept { return Status::kNoDevice; }
int64_t accumulate_cuda_workspace_bytes(const NearestShape&) noexcept { return 0; }
Status accumulate_cuda(const NearestShape&, const AccumulateCall&, const CudaRun&) noexcept {
  return Status::kNoDevice;
}
Status sweep_cuda_supports(const SweepShape&, SweepKind, SweepSearch, int32_t) noexcept { return Status::kNoDevice; }
int64_t sweep_cuda_workspace_bytes(const SweepShape&, SweepSearch) noexcept { return 0; }
Status sweep_cuda(const SweepShape&, const SweepCall&, const CudaRun&) noexcept { return Status::kNoDevice; }

}  // namespace aqlm_exp::code_search
