// Additive codes on the GPU. No torch or CUDA header here: pointers are device pointers, `stream` is a cudaStream_t.
//
//   entry      codes         for                                                       how
//   _lookup_   packed        Kx1..Kx8, in_group_size 8 or 16, batch 1-2                tables private to a
//   shared-memory
//                                                                                      bank; several linears per launch
//   _mma_      packed        1, 2 or 4 codebooks of 1-8 bits, in_group_size 8,         codewords from shared memory
//   into
//                            batch 1-64                                                tensor-core fragments
//   _gather_   natural       1 or 2 codebooks of 9-16 bits, in_group_size 8 or 16,     codewords through L1 and L2 into
//                            batch 1-64                                                tensor-core fragments
//   _generic_  natural       every valid shape, any batch                              decode and multiply
//   _dequantise_ either      prompts: a chunk of rows to fp16, then the library GEMM
//
// Every entry is ordered by the stream, allocates nothing, never synchronises and may be captured in a CUDA graph. All
// are deterministic. Natural codes are the Hugging Face format's: [num_out_groups, num_in_groups, num_codebooks], uint8
// for nbits <= 8, else uint16, wrapped to signed (the low nbits count).
#pragma once

#include <cstdint>

#include "kernels/additive_matvec/additive_shape.h"
#include "kernels/platform/status.h"

namespace aqlm_exp::additive_matvec {

/// Is there a usable GPU, and was this built with CUDA? kOk or kNoDevice.
kernels::Status additive_cuda_available() noexcept;

struct AdditiveCudaCall {
  const void* codes = nullptr;      // packed or natural, see the table; 16-byte aligned
  const void* codebooks = nullptr;  // fp16 [num_codebooks, 2^nbits, out_group_size, in_group_size]
  const void* scales = nullptr;     // fp16 [num_out_groups, scale_groups]
  const void* bias = nullptr;       // fp16 [out_features] or null
  const void* residual = nullptr;   // fp16 [batch, out_features] or null; may be y
  const void* x = nullptr;          // fp16 [batch, in_features], 16-byte aligned
  void* y = nullptr;                // fp16 [batch, out_features]
  int64_t batch = 1;
  void* stream = nullptr;
  /// Programmatic dependent launch: the kernel may start before its predecessor ends, and waits for it by itself before
  /// it touches x, residual or y. Codes, codebooks, scales and bias must not be written by work still in flight.
  bool programmatic = false;
};

/// Bytes of packed codes; 0 if the shape cannot be packed (nbits > 8, out_group_size or scale_groups not 1).
int64_t additive_cuda_packed_bytes(const AdditiveShape& shape) noexcept;
/// Natural uint8 codes to the packed layout, on the host. A pure permutation with padding:
/// [unit][16-row tile][8-row half][lane][row in half][slot], where slot q = 2 unit + slot counts
/// (block of 32 input groups) * num_codebooks + codebook, and the lane is the group in its block.
void additive_cuda_pack_host(const AdditiveShape& shape, const uint8_t* codes, uint8_t* packed);
/// The same on the device, ordered by the stream; out of place.
kernels::Status additive_cuda_pack(const AdditiveShape& shape, const void* codes, void* packed, void* stream) noexcept;

kernels::Status additive_lookup_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept;
kernels::Status additive_lookup_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept;
constexpr int kMaxFusedLinears = 4;
/// Up to four linears that read the same x (q/k/v, gate/up) in one launch; shapes may differ in out_features only,
/// calls must agree in x, batch, stream and programmatic.
kernels::Status additive_lookup_cuda_f16_fused(int count, const AdditiveShape* shapes,
                                               const AdditiveCudaCall* calls) noexcept;

kernels::Status additive_mma_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept;
kernels::Status additive_mma_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept;

kernels::Status additive_gather_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept;
kernels::Status additive_gather_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept;

kernels::Status additive_generic_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept;
kernels::Status additive_generic_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept;

/// Output rows [row_begin, row_end) of the weight, scale included, rounded once to fp16: [rows, in_features]. Packed
/// codes: in_group_size 8 or 16, row_begin a multiple of 16. Natural codes: row_begin a multiple of out_group_size.
/// Uses call.codes, codebooks, scales, stream and programmatic.
kernels::Status additive_dequantise_packed_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call,
                                                    int64_t row_begin, int64_t row_end, void* weight) noexcept;
kernels::Status additive_dequantise_natural_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call,
                                                     int64_t row_begin, int64_t row_end, void* weight) noexcept;

}  // namespace aqlm_exp::additive_matvec
