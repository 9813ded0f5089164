// The CUDA entries in a build without CUDA: nothing is supported, and the reason is kNoDevice.
#include "kernels/additive_matvec/additive_cuda.h"

namespace aqlm_exp::additive_matvec {

using kernels::Status;

Status additive_cuda_available() noexcept { return Status::kNoDevice; }
Status additive_cuda_pack(const AdditiveShape&, const void*, void*, void*) noexcept { return Status::kNoDevice; }
Status additive_lookup_cuda_supports(const AdditiveShape&, int64_t) noexcept { return Status::kNoDevice; }
Status additive_lookup_cuda_f16(const AdditiveShape&, const AdditiveCudaCall&) noexcept { return Status::kNoDevice; }
Status additive_lookup_cuda_f16_fused(int, const AdditiveShape*, const AdditiveCudaCall*) noexcept {
  return Status::kNoDevice;
}
Status additive_mma_cuda_supports(const AdditiveShape&, int64_t) noexcept { return Status::kNoDevice; }
Status additive_mma_cuda_f16(const AdditiveShape&, const AdditiveCudaCall&) noexcept { return Status::kNoDevice; }
Status additive_gather_cuda_supports(const AdditiveShape&, int64_t) noexcept { return Status::kNoDevice; }
Status additive_gather_cuda_f16(const AdditiveShape&, const AdditiveCudaCall&) noexcept { return Status::kNoDevice; }
Status additive_generic_cuda_supports(const AdditiveShape&, int64_t) noexcept { return Status::kNoDevice; }
Status additive_generic_cuda_f16(const AdditiveShape&, const AdditiveCudaCall&) noexcept { return Status::kNoDevice; }
Status additive_dequantise_packed_cuda_f16(const AdditiveShape&, const AdditiveCudaCall&, int64_t, int64_t,
                                           void*) noexcept {
  return Status::kNoDevice;
}
Status additive_dequantise_natural_cuda_f16(const AdditiveShape&, const AdditiveCudaCall&, int64_t, int64_t,
                                            void*) noexcept {
  return Status::kNoDevice;
}

}  // namespace aqlm_exp::additive_matvec
