// Any MxN code on the CPU: decode a group's codewords, then multiply. For schemes without a look-up kernel: codes of
// more than 8 bits, out_group_size above 1, a scale per group.
#pragma once

#include <cstdint>

#include "kernels/additive_matvec/additive_shape.h"
#include "kernels/platform/status.h"

namespace aqlm_exp::additive_matvec {

struct AdditiveGenericCpuCall {
  const void* codes = nullptr;       // [num_out_groups, num_in_groups, num_codebooks]; uint8 if nbits <= 8, else uint16
  const float* codebooks = nullptr;  // [num_codebooks, 2^nbits, out_group_size, in_group_size]
  const float* scales = nullptr;     // [num_out_groups, scale_groups]
  const float* bias = nullptr;       // [out_features] or null
  const float* residual = nullptr;   // [batch, out_features] or null; may be y
  const float* x = nullptr;          // [batch, in_features]
  float* y = nullptr;                // [batch, out_features]
  int64_t batch = 1;
  int threads = 1;
};

/// Every valid shape with out_group_size * in_group_size <= 1024.
kernels::Status additive_generic_cpu_supports(const AdditiveShape& shape) noexcept;
/// Codes are masked to nbits_per_codebook bits, as the Hugging Face format stores them wrapped to signed.
kernels::Status additive_generic_cpu(const AdditiveShape& shape, const AdditiveGenericCpuCall& call) noexcept;
/// Output groups [group_begin, group_end) of the weight, scale included, fp32 [rows, in_features].
void additive_generic_cpu_dequantise(const AdditiveShape& shape, const AdditiveGenericCpuCall& call,
                                     int64_t group_begin, int64_t group_end, float* weight) noexcept;

}  // namespace aqlm_exp::additive_matvec
