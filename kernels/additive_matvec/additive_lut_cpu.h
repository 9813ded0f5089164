// Kx8 codes on the CPU by look-up tables: the dot products of one input group with all codewords are computed once, and
// every row then adds num_codebooks table entries per group in the place of in_group_size multiply-adds.
//
// Layout of the packed codes: [row block of 512][input group][codebook][row in the block], one byte a code, rows padded
// to a multiple of 64. A thread owns rows, whole row blocks where they share out evenly: long contiguous streams, and
// nobody shares an output.
//
//   level        a table a token                                   large batches, and 512 rows or more a thread
//   portable     fp32 tables, eight rows in flight                 the same
//   avx2         the same, tables built by vector code             from 4 tokens: an entry holds 8 tokens (one ymm)
//   avx512bw     int16 tables held in registers, vpermi2w          from 13: an entry holds 16 tokens (one zmm)
//   avx512vbmi   int16 tables as two byte planes, vpermi2b         from 17: an entry holds 16 tokens
//
// The int16 tables quantise the entries of about 16 / num_codebooks groups by one scale, so that their sums cannot
// overflow: an entry errs by at most half of max|entry| / floor(32767 / (tables per block)), about 0.1% of the output's
// rms on ordinary data. The fp32 levels round only as fp32 does. See additive_lut_cpu_error_bound.
#pragma once

#include <cstdint>

#include "kernels/additive_matvec/additive_shape.h"
#include "kernels/platform/cpu_isa.h"
#include "kernels/platform/status.h"

namespace aqlm_exp::additive_matvec {

constexpr int64_t kLutRowBlock = 512;
constexpr int64_t kLutRowPad = 64;
constexpr int64_t kLutMaxCodebooks = 64;

/// Codes of 1 to 8 bits, out_group_size 1, a scale per row, up to 64 codebooks; any in_group_size.
kernels::Status additive_lut_cpu_supports(const AdditiveShape& shape) noexcept;

int64_t additive_lut_cpu_packed_code_bytes(const AdditiveShape& shape) noexcept;
int64_t additive_lut_cpu_packed_codebook_floats(const AdditiveShape& shape) noexcept;

/// @param codes [out_features, num_in_groups, num_codebooks] bytes as the Hugging Face format stores them for
///        nbits_per_codebook <= 8 (wrapped to int8: the low nbits_per_codebook bits count)
/// @param packed_codes 64-byte aligned, additive_lut_cpu_packed_code_bytes(shape) bytes
void additive_lut_cpu_pack_codes(const AdditiveShape& shape, const uint8_t* codes, uint8_t* packed_codes);
/// @param codebooks [num_codebooks, 2^nbits, 1, in_group_size]
/// @param packed_codebooks 64-byte aligned: [num_codebooks][in_group_size][256], then
/// [num_codebooks][256][in_group_size]
void additive_lut_cpu_pack_codebooks(const AdditiveShape& shape, const float* codebooks, float* packed_codebooks);

struct AdditiveLutCpuCall {
  const uint8_t* packed_codes = nullptr;
  const float* packed_codebooks = nullptr;
  const float* scales = nullptr;    // [out_features]
  const float* bias = nullptr;      // [out_features] or null
  const float* residual = nullptr;  // [batch, out_features] or null; may be y
  const float* x = nullptr;         // [batch, in_features]
  float* y = nullptr;               // [batch, out_features]
  int64_t batch = 1;
  void* workspace = nullptr;  // 64-byte aligned, additive_lut_cpu_workspace_bytes(...) bytes, contents are scratch
  int threads = 1;
  kernels::CpuIsa isa = kernels::CpuIsa::kBest;
};

int64_t additive_lut_cpu_workspace_bytes(const AdditiveShape& shape, int64_t batch, int threads,
                                         kernels::CpuIsa isa) noexcept;

/// Any batch >= 1 (built for 1 to 16; for prompts use additive_lut_cpu_dequantise and a GEMM, see docs/kernels.md).
/// The result does not depend on `threads` where the same method runs; NaN or infinity in x gives NaN at int16 levels.
kernels::Status additive_lut_cpu(const AdditiveShape& shape, const AdditiveLutCpuCall& call) noexcept;

/// Rows [row_begin, row_end) of the weight, scale included, as fp32 [row_end - row_begin, in_features].
/// row_begin must be a multiple of 64.
void additive_lut_cpu_dequantise(const AdditiveShape& shape, const AdditiveLutCpuCall& call, int64_t row_begin,
                                 int64_t row_end, float* weight) noexcept;

/// What rounding the tables may add to |y[b, o]| / |scales[o]| at the int16 levels: the sum over blocks of
/// (entries added) * (half a step). Zero at fp32 levels. @param x one token, [in_features]
double additive_lut_cpu_error_bound(const AdditiveShape& shape, const float* packed_codebooks, const float* x,
                                    kernels::CpuIsa isa);

}  // namespace aqlm_exp::additive_matvec
