// Sums of rows by code: what k-means, least squares and gradients of codebooks need, with the same result at every run.
#pragma once

#include <ATen/core/Tensor.h>

namespace aqlm_exp::quant {

/// out[k] = Σ over n with codes[n] == k of rows[n]. Deterministic on every device: the CPU adds a fixed number of parts
/// in order, whatever the number of threads; CUDA adds 64-bit fixed-point numbers (resolution 2⁻⁶⁰ · N · max|rows|),
/// whose sum does not depend on the order of its atomic adds.
/// @param rows [N, d] float32, finite
/// @param codes [N] int32 or int64, each in 0..num_codes-1
/// @return [num_codes, d] float32
at::Tensor sum_rows_by_code(const at::Tensor& rows, const at::Tensor& codes, int64_t num_codes);

}  // namespace aqlm_exp::quant
