// Group-quantised 4-, 3- and 2-bit weights on the CPU: codes become fp32 levels by a register permute (AVX-512: any
// table of 16 levels, NF4 as fast as integers) and are multiplied in fp32.
//
// Layout: rows in quads; per quad [block][row 0..3][16 lanes] of 32-bit words, so that a quad is one contiguous stream.
// Lane l, code k of a block is column 16 k + l: a vector of 16 decoded codes meets 16 consecutive inputs.
//   nbits 4: blocks of 128 columns, code k in bits 4k..4k+3      nbits 2: blocks of 256 columns, bits 2k, 2k+1
//   nbits 3: blocks of 512 columns, three words: low two bits of codes 0..15, of 16..31, and the high bits of all 32
// Scales and zero points are held in fp16 beside each other: [quad][group][4 scales, 4 zero points].
#pragma once

#include <cstdint>

#include "kernels/platform/cpu_isa.h"
#include "kernels/platform/status.h"
#include "kernels/scalar_matvec/scalar_shape.h"

namespace aqlm_exp::scalar_matvec {

/// nbits 2, 3, 4; group_size a multiple of 16, or one group for the row.
kernels::Status scalar_cpu_supports(const ScalarShape& shape) noexcept;

int64_t scalar_cpu_packed_code_bytes(const ScalarShape& shape) noexcept;
int64_t scalar_cpu_packed_scale_bytes(const ScalarShape& shape) noexcept;
/// @param codes [out_features, in_features], one code a byte; @param packed_codes 64-byte aligned
void scalar_cpu_pack_codes(const ScalarShape& shape, const uint8_t* codes, void* packed_codes);
/// @param scales, zero_points [out_features, num_groups], rounded to fp16 here; zero_points may be null
void scalar_cpu_pack_scales(const ScalarShape& shape, const float* scales, const float* zero_points,
                            void* packed_scales);

struct ScalarCpuCall {
  const void* packed_codes = nullptr;
  const void* packed_scales = nullptr;
  const float* levels = nullptr;    // [2^nbits] or null: 0, 1, 2, ...
  const int32_t* x_perm = nullptr;  // [in_features] or null
  const float* bias = nullptr;      // [out_features] or null
  const float* residual = nullptr;  // [batch, out_features] or null; may be y
  const float* x = nullptr;         // [batch, in_features]
  float* y = nullptr;               // [batch, out_features]
  int64_t batch = 1;
  void* workspace = nullptr;  // 64-byte aligned, scalar_cpu_workspace_bytes(shape, batch) bytes
  int threads = 1;
  kernels::CpuIsa isa = kernels::CpuIsa::kBest;
};

int64_t scalar_cpu_workspace_bytes(const ScalarShape& shape, int64_t batch) noexcept;
/// Any batch >= 1 (built for 1 to 16). The result does not depend on `threads`.
kernels::Status scalar_cpu(const ScalarShape& shape, const ScalarCpuCall& call) noexcept;
/// Rows [row_begin, row_end) of the weight as fp32 [rows, in_features], columns in stored order.
void scalar_cpu_dequantise(const ScalarShape& shape, const ScalarCpuCall& call, int64_t row_begin, int64_t row_end,
                           float* weight) noexcept;

}  // namespace aqlm_exp::scalar_matvec
