// Group-quantised 4-, 3- and 2-bit weights on the GPU: codes become fp16 levels in registers and go to the tensor
// cores; a group's products are summed in fp32 and scaled there. No torch or CUDA header here: pointers are device
// pointers, `stream` is a cudaStream_t. Ordered by the stream, no allocation, no synchronisation, capturable,
// deterministic.
#pragma once

#include <cstdint>

#include "kernels/platform/status.h"
#include "kernels/scalar_matvec/scalar_shape.h"

namespace aqlm_exp::scalar_matvec {

struct ScalarCudaCall {
  const void* packed_codes = nullptr;   // scalar_cuda_packed_code_bytes, 16-byte aligned
  const void* packed_scales = nullptr;  // scalar_cuda_packed_scale_bytes, 16-byte aligned
  const void* levels = nullptr;  // fp16 [16] for 4-bit tables (NF4), or null for integers; must match the packing
  /// Every zero point is a whole number from 0 to 16: one subtraction a pair of weights in the place of two (4 bits).
  bool whole_zero_points = false;
  const int32_t* x_perm = nullptr;  // [in_features] or null: act-order
  const void* bias = nullptr;       // fp16 [out_features] or null
  const void* residual = nullptr;   // fp16 [batch, out_features] or null; may be y
  const void* x = nullptr;          // fp16 [batch, in_features], 16-byte aligned
  void* y = nullptr;                // fp16 [batch, out_features]
  int64_t batch = 1;
  void* stream = nullptr;
  bool programmatic = false;  // see AdditiveCudaCall
};

/// kOk or kNoDevice.
kernels::Status scalar_cuda_available() noexcept;
/// nbits 4, 3 or 2; in_features a multiple of 8; group_size 32, 64, 128, a multiple of 256, or one group for the row;
/// batch 1 to 64. Levels (a table in the place of integers): nbits 4.
kernels::Status scalar_mma_cuda_supports(const ScalarShape& shape, int64_t batch, bool levels) noexcept;

int64_t scalar_cuda_packed_code_bytes(const ScalarShape& shape) noexcept;
int64_t scalar_cuda_packed_scale_bytes(const ScalarShape& shape) noexcept;
/// Host packers. Codes [out_features, in_features], one a byte:
/// [block of 256 inputs][16-row tile][uint4 i][lane] with thread (r, t) = (lane / 4, lane % 4) holding rows 2r, 2r + 1
/// and inputs 32 s + 8 t .. + 7 of step s. Scales and zero points: fp16 pairs [group][row], rows padded to 16.
void scalar_cuda_pack_codes_host(const ScalarShape& shape, const uint8_t* codes, bool levels, void* packed_codes);
void scalar_cuda_pack_scales_host(const ScalarShape& shape, const float* scales, const float* zero_points,
                                  void* packed_scales);

kernels::Status scalar_mma_cuda_f16(const ScalarShape& shape, const ScalarCudaCall& call) noexcept;

/// Rows [row_begin, row_end) of the weight in fp16 [rows, in_features], columns in stored order; row_begin a multiple
/// of
/// 16. For prompts: a chunk that stays in L2, then the library GEMM (on permuted x where x_perm is used).
kernels::Status scalar_dequantise_cuda_f16(const ScalarShape& shape, const ScalarCudaCall& call, int64_t row_begin,
                                           int64_t row_end, void* weight) noexcept;

}  // namespace aqlm_exp::scalar_matvec
