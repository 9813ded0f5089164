// The CUDA entries in a build without CUDA: the reason is kNoDevice.
#include "kernels/decode/decode_cuda.h"

namespace aqlm_exp::decode {

using kernels::Status;

Status decode_cuda_available() noexcept { return Status::kNoDevice; }
Status embed_cuda(const EmbedCall&, const Order&) noexcept { return Status::kNoDevice; }
Status add_rms_norm_cuda(const AddRmsNormCall&, const Order&) noexcept { return Status::kNoDevice; }
Status silu_mul_cuda(const SiluMulCall&, const Order&) noexcept { return Status::kNoDevice; }
Status gemv_cuda_supports(const GemvCall&) noexcept { return Status::kNoDevice; }
Status gemv_cuda(const GemvCall&, const Order&) noexcept { return Status::kNoDevice; }
Status attend_cuda_supports(const AttendCall&) noexcept { return Status::kNoDevice; }
int64_t attend_scratch_floats(const AttendCall&) noexcept { return 0; }
Status attend_cuda(const AttendCall&, const Order&) noexcept { return Status::kNoDevice; }
Status sample_cuda(const SampleCall&, const Order&) noexcept { return Status::kNoDevice; }

}  // namespace aqlm_exp::decode
