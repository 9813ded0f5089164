// Packing of small integers into 32-bit words: the layout of GPTQ's and AWQ's checkpoints (lowest bits first; a code
// may straddle two words, as 3-bit ones do).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace aqlm_exp::scalar {

/// @param codes [rows, columns] uint8, each below 2^nbits
/// @return [rows, ceil(columns * nbits / 32)] int32; unused high bits of a row's last word are 0
/// @throws InternalError if a code does not fit
at::Tensor pack_rows(const at::Tensor& codes, int64_t nbits);

/// The inverse of pack_rows. @return [rows, columns] uint8
at::Tensor unpack_rows(const at::Tensor& words, int64_t nbits, int64_t columns);

}  // namespace aqlm_exp::scalar
