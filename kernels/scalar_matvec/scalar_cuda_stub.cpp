// The CUDA entries in a build without CUDA: nothing is supported, and the reason is kNoDevice.
#include "kernels/scalar_matvec/scalar_cuda.h"

namespace aqlm_exp::scalar_matvec {

using kernels::Status;

Status scalar_cuda_available() noexcept { return Status::kNoDevice; }
Status scalar_mma_cuda_supports(const ScalarShape&, int64_t, bool) noexcept { return Status::kNoDevice; }
Status scalar_mma_cuda_f16(const ScalarShape&, const ScalarCudaCall&) noexcept { return Status::kNoDevice; }
Status scalar_dequantise_cuda_f16(const ScalarShape&, const ScalarCudaCall&, int64_t, int64_t, void*) noexcept {
  return Status::kNoDevice;
}

}  // namespace aqlm_exp::scalar_matvec
