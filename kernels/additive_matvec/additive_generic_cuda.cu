// Any MxN code on the GPU, for schemes without a kernel of their own, the packer, and chunks of dense weight for
// prompts.
#include <cuda_fp16.h>

#include "kernels/additive_matvec/additive_cuda.h"
#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::Status;

struct NaturalCodes {
  const void* codes;
  const __half* codebooks;
  const __half* scales;
  int64_t rows, in_features, groups;
  int books, nbits, in_group, out_group, wide, per_group;

  __device__ uint32_t code(int64_t o, int64_t j, int m) const {
    const int64_t at = (o * groups + j) * books + m;
    const uint32_t raw = wide ? uint32_t{__ldg(static_cast<const uint16_t*>(codes) + at)}
                              : uint32_t{__ldg(static_cast<const uint8_t*>(codes) + at)};
    return raw & ((1U << nbits) - 1U);
  }
  /// Row `a` of the codeword: in_group halves.
  __device__ const __half* word(uint32_t code_value, int m, int a) const {
    return codebooks + (((int64_t{m} << nbits) + code_value) * out_group + a) * in_group;
  }
};

NaturalCodes natural(const AdditiveShape& shape, const AdditiveCudaCall& call) {
  return {call.codes,
          static_cast<const __half*>(call.codebooks),
          static_cast<const __half*>(call.scales),
          shape.out_features,
          shape.in_features,
          shape.num_in_groups(),
          shape.num_codebooks,
          shape.nbits_per_codebook,
          shape.in_group_size,
          shape.out_group_size,
          shape.nbits_per_codebook > 8 ? 1 : 0,
          shape.scale_groups == 1 ? 0 : 1};
}

struct GenericParams {
  NaturalCodes w;
  const __half* x;
  kernels::Epilogue out;
  int batch;
};

/// A warp per output row and T tokens; lanes take input groups. Vector: in_group is a multiple of 8 and rows are
/// aligned.
template <int T, bool Vector>
__global__ void __launch_bounds__(256) generic_kernel(const __grid_constant__ GenericParams p) {
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const int64_t row = int64_t{blockIdx.x} * 8 + (threadIdx.x >> 5);
  const int token0 = static_cast<int>(blockIdx.y) * T;
  kernels::trigger_dependents();
  kernels::wait_for_previous();
  if (row >= p.w.rows) return;
  const int64_t o = row / p.w.out_group;
  const int a = static_cast<int>(row % p.w.out_group);
  float sums[T] = {};
  for (int64_t j = lane; j < p.w.groups; j += 32) {
    const float scale = p.w.per_group ? __half2float(p.w.scales[o * p.w.groups + j]) : 1.F;
    float part[T] = {};
    for (int m = 0; m < p.w.books; ++m) {
      const __half* word = p.w.word(p.w.code(o, j, m), m, a);
      if constexpr (Vector) {
        for (int d = 0; d < p.w.in_group; d += 8) {
          const uint4 raw = kernels::load_table16(word + d);
          const __half2* pairs = reinterpret_cast<const __half2*>(&raw);
#pragma unroll
          for (int t = 0; t < T; ++t) {
            if (token0 + t >= p.batch) break;
            const uint4 raw_x = kernels::load_fresh16(p.x + (token0 + t) * p.w.in_features + j * p.w.in_group + d);
            const __half2* x = reinterpret_cast<const __half2*>(&raw_x);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const float2 u = __half22float2(pairs[i]), v = __half22float2(x[i]);
              part[t] = fmaf(u.x, v.x, fmaf(u.y, v.y, part[t]));
            }
          }
        }
      } else {
        for (int d = 0; d < p.w.in_group; ++d) {
          const float u = __half2float(word[d]);
#pragma unroll
          for (int t = 0; t < T; ++t) {
            if (token0 + t >= p.batch) break;
            part[t] =
                fmaf(u, __half2float(__ldcg(p.x + (token0 + t) * p.w.in_features + j * p.w.in_group + d)), part[t]);
          }
        }
      }
    }
#pragma unroll
    for (int t = 0; t < T; ++t) sums[t] = fmaf(part[t], scale, sums[t]);
  }
#pragma unroll
  for (int t = 0; t < T; ++t) {
#pragma unroll
    for (int w = 16; w; w >>= 1) sums[t] += __shfl_xor_sync(~0U, sums[t], w);
    if (lane == 0 && token0 + t < p.batch) {
      const float scale = p.w.per_group ? 1.F : __half2float(p.w.scales[o]);
      kernels::finish(p.out, sums[t] * scale, row, token0 + t, p.w.rows);
    }
  }
}

struct DequantiseParams {
  NaturalCodes w;
  const unsigned char* packed;
  __half* out;
  int64_t row_begin, row_end;
  int copies;  // of the codebooks in shared memory (packed codes)
};

/// A thread per (output row, input group); neighbours write neighbouring groups.
template <bool Vector>
__global__ void __launch_bounds__(256) dequantise_natural_kernel(const __grid_constant__ DequantiseParams p) {
  kernels::trigger_dependents();
  kernels::wait_for_previous();  // the GEMM of the last chunk may still read the buffer
  const int64_t group = int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (group >= p.w.groups) return;
  for (int64_t row = p.row_begin + blockIdx.y; row < p.row_end; row += gridDim.y) {
    const int64_t o = row / p.w.out_group;
    const int a = static_cast<int>(row % p.w.out_group);
    const float scale = __half2float(p.w.scales[p.w.per_group ? o * p.w.groups + group : o]);
    __half* to = p.out + (row - p.row_begin) * p.w.in_features + group * p.w.in_group;
    if constexpr (Vector) {
      for (int d = 0; d < p.w.in_group; d += 8) {
        float sums[8] = {};
        for (int m = 0; m < p.w.books; ++m) {
          const uint4 raw = kernels::load_table16(p.w.word(p.w.code(o, group, m), m, a) + d);
          const __half2* pairs = reinterpret_cast<const __half2*>(&raw);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float2 v = __half22float2(pairs[i]);
            sums[2 * i] += v.x, sums[2 * i + 1] += v.y;
          }
        }
        uint4 packed;
        __half2* pairs = reinterpret_cast<__half2*>(&packed);
#pragma unroll
        for (int i = 0; i < 4; ++i) pairs[i] = __floats2half2_rn(sums[2 * i] * scale, sums[2 * i + 1] * scale);
        *reinterpret_cast<uint4*>(to + d) = packed;
      }
    } else {
      for (int d = 0; d < p.w.in_group; ++d) {
        float sum = 0;
        for (int m = 0; m < p.w.books; ++m) sum += __half2float(p.w.word(p.w.code(o, group, m), m, a)[d]);
        to[d] = __float2half_rn(sum * scale);
      }
    }
  }
}

/// Packed Kx8, groups of 8 Parts: a warp takes 8 rows x 32 groups, codewords from `copies` copies in shared memory.
/// Rows are finished one after the other: 8 x 8 sums at once took 109 registers and left one CTA per SM.
template <int Parts>
__global__ void __launch_bounds__(512, 2) dequantise_packed_kernel(const __grid_constant__ DequantiseParams p) {
  extern __shared__ uint4 words[];  // [book][entry][part][copy]
  const int lane = static_cast<int>(threadIdx.x) & 31, entries = 1 << p.w.nbits, copies = p.copies;
  kernels::trigger_dependents();
  for (int i = static_cast<int>(threadIdx.x); i < p.w.books * entries * Parts; i += static_cast<int>(blockDim.x)) {
    const uint4 word = kernels::load_table16(p.w.codebooks + int64_t{i} * 8);
    for (int k = 0; k < copies; ++k) words[i * copies + (k + i) % copies] = word;  // turned: no bank conflicts
  }
  __syncthreads();
  kernels::wait_for_previous();  // the GEMM of the last chunk may still read the buffer
  const int64_t tiles = (p.w.rows + 15) / 16, halves = (p.row_end - p.row_begin + 7) / 8;
  const int blocks = static_cast<int>((p.w.groups + 31) / 32);
  const uint4* mine = words + (lane % copies);
  const int64_t warps = int64_t{gridDim.x} * (blockDim.x >> 5), jobs = halves * blocks;
  const auto fetch = [&](int64_t job, int m) {
    const int64_t row0 = p.row_begin + job / blocks * 8, slot = job % blocks * p.w.books + m;
    return kernels::load_stream16(p.packed + (((slot >> 1) * tiles + row0 / 16) * 64 + row0 % 16 / 8 * 32 + lane) * 16);
  };
  constexpr int kHeld = 4;  // codebooks whose codes are held for all eight rows
  for (int64_t job = int64_t{blockIdx.x} * (blockDim.x >> 5) + (threadIdx.x >> 5); job < jobs; job += warps) {
    const int64_t row0 = p.row_begin + job / blocks * 8, block = job % blocks, group = block * 32 + lane;
    uint4 held[kHeld];
#pragma unroll
    for (int m = 0; m < kHeld; ++m)
      if (m < p.w.books) held[m] = fetch(job, m);
    if (group >= p.w.groups) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int64_t row = row0 + i;
      if (row >= p.row_end) break;
      float sums[8 * Parts] = {};
      const auto add = [&](const uint4& codes, int m) {
        const uint32_t w[4] = {codes.x, codes.y, codes.z, codes.w};
        const int shift = 16 * (i & 1) + 8 * (static_cast<int>(block * p.w.books + m) & 1);
        const int entry = (m * entries + static_cast<int>((w[i / 2] >> shift) & 255U)) * Parts;
#pragma unroll
        for (int part = 0; part < Parts; ++part) {
          const uint4 raw = mine[(entry + part) * copies];
          const __half2* pairs = reinterpret_cast<const __half2*>(&raw);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            const float2 v = __half22float2(pairs[k]);
            sums[8 * part + 2 * k] += v.x, sums[8 * part + 2 * k + 1] += v.y;
          }
        }
      };
#pragma unroll
      for (int m = 0; m < kHeld; ++m)
        if (m < p.w.books) add(held[m], m);
      for (int m = kHeld; m < p.w.books; ++m) add(fetch(job, m), m);
      const float scale = __half2float(p.w.scales[row]);
#pragma unroll
      for (int part = 0; part < Parts; ++part) {
        const float* from = sums + 8 * part;
        uint4 packed;
        __half2* pairs = reinterpret_cast<__half2*>(&packed);
#pragma unroll
        for (int k = 0; k < 4; ++k) pairs[k] = __floats2half2_rn(from[2 * k] * scale, from[2 * k + 1] * scale);
        *reinterpret_cast<uint4*>(p.out + (row - p.row_begin) * p.w.in_features + (group * Parts + part) * 8) = packed;
      }
    }
  }
}

struct PackParams {
  const uint8_t* codes;
  uint8_t* packed;
  int64_t rows, groups, tiles, bytes;
  int books;
  uint32_t mask;
};

__global__ void __launch_bounds__(256) pack_kernel(const __grid_constant__ PackParams p) {
  for (int64_t i = int64_t{blockIdx.x} * 256 + threadIdx.x; i < p.bytes; i += int64_t{gridDim.x} * 256) {
    const int64_t cell = i / 16, byte = i % 16;
    const int64_t unit = cell / 64 / p.tiles, tile = cell / 64 % p.tiles, slot = 2 * unit + byte % 2;
    const int64_t row = tile * 16 + cell % 64 / 32 * 8 + byte / 2, group = slot / p.books * 32 + cell % 32;
    uint8_t code = 0;
    if (row < p.rows && group < p.groups)
      code = static_cast<uint8_t>(p.codes[(row * p.groups + group) * p.books + slot % p.books] & p.mask);
    p.packed[i] = code;
  }
}

bool vector_words(const AdditiveShape& shape) { return shape.in_group_size % 8 == 0; }

}  // namespace

Status additive_cuda_available() noexcept {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    return Status::kNoDevice;
  }
  int major = 0;
  const int device = kernels::current_device();
  if (device < 0 || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      major != 9)  // built for sm_90a only
    return Status::kNoDevice;
  return Status::kOk;
}

Status additive_cuda_pack(const AdditiveShape& shape, const void* codes, void* packed, void* stream) noexcept {
  const int64_t bytes = additive_cuda_packed_bytes(shape);
  if (bytes == 0) return Status::kUnsupportedShape;
  const PackParams p{static_cast<const uint8_t*>(codes),
                     static_cast<uint8_t*>(packed),
                     shape.out_features,
                     shape.num_in_groups(),
                     (shape.out_features + 15) / 16,
                     bytes,
                     shape.num_codebooks,
                     static_cast<uint32_t>(shape.codebook_size() - 1)};
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>((bytes + 255) / 256 < 4096 ? (bytes + 255) / 256 : 4096));
  how.block = dim3(256);
  how.stream = static_cast<cudaStream_t>(stream);
  return kernels::launch<pack_kernel>(how, p);
}

Status additive_generic_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept {
  return shape.valid() && batch >= 1 && batch <= 65535 ? Status::kOk : Status::kUnsupportedShape;
}

Status additive_generic_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept {
  const Status status = additive_generic_cuda_supports(shape, call.batch);
  if (status != Status::kOk) return status;
  const GenericParams p{natural(shape, call),
                        static_cast<const __half*>(call.x),
                        {nullptr, static_cast<const __half*>(call.bias), static_cast<const __half*>(call.residual),
                         static_cast<__half*>(call.y)},
                        static_cast<int>(call.batch)};
  const int tokens = call.batch == 1 ? 1 : call.batch <= 4 ? 4 : 8;
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>((shape.out_features + 7) / 8),
                  static_cast<unsigned>((call.batch + tokens - 1) / tokens));
  how.block = dim3(256);
  how.programmatic = call.programmatic;
  how.stream = static_cast<cudaStream_t>(call.stream);
  if (vector_words(shape))
    return tokens == 1   ? kernels::launch<generic_kernel<1, true>>(how, p)
           : tokens == 4 ? kernels::launch<generic_kernel<4, true>>(how, p)
                         : kernels::launch<generic_kernel<8, true>>(how, p);
  return tokens == 1   ? kernels::launch<generic_kernel<1, false>>(how, p)
         : tokens == 4 ? kernels::launch<generic_kernel<4, false>>(how, p)
                       : kernels::launch<generic_kernel<8, false>>(how, p);
}

Status additive_dequantise_natural_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call, int64_t row_begin,
                                            int64_t row_end, void* weight) noexcept {
  if (!shape.valid() || row_begin < 0 || row_begin >= row_end || row_end > shape.out_features)
    return Status::kUnsupportedShape;
  const DequantiseParams p{natural(shape, call), nullptr, static_cast<__half*>(weight), row_begin, row_end, 0};
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>((shape.num_in_groups() + 255) / 256),
                  static_cast<unsigned>(row_end - row_begin < 65535 ? row_end - row_begin : 65535));
  how.block = dim3(256);
  how.programmatic = call.programmatic;
  how.stream = static_cast<cudaStream_t>(call.stream);
  return vector_words(shape) ? kernels::launch<dequantise_natural_kernel<true>>(how, p)
                             : kernels::launch<dequantise_natural_kernel<false>>(how, p);
}

Status additive_dequantise_packed_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call, int64_t row_begin,
                                           int64_t row_end, void* weight) noexcept {
  if (additive_cuda_packed_bytes(shape) == 0 || (shape.in_group_size != 8 && shape.in_group_size != 16) ||
      row_begin < 0 || row_begin % 16 != 0 || row_begin >= row_end || row_end > shape.out_features)
    return Status::kUnsupportedShape;
  DequantiseParams p{natural(shape, call),
                     static_cast<const unsigned char*>(call.codes),
                     static_cast<__half*>(weight),
                     row_begin,
                     row_end,
                     8};
  const int64_t book_bytes = shape.num_codebooks * shape.codebook_size() * shape.in_group_size * 2;
  while (p.copies > 1 && book_bytes * p.copies > 96 * 1024) p.copies /= 2;
  if (book_bytes * p.copies > 220 * 1024) return Status::kUnsupportedShape;
  const int sms = kernels::multiprocessors();
  if (sms == 0) return Status::kNoDevice;
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>(sms * 2));
  how.block = dim3(512);
  how.shared_bytes = book_bytes * p.copies;
  how.programmatic = call.programmatic;
  how.stream = static_cast<cudaStream_t>(call.stream);
  return shape.in_group_size == 8 ? kernels::launch<dequantise_packed_kernel<1>>(how, p)
                                  : kernels::launch<dequantise_packed_kernel<2>>(how, p);
}

}  // namespace aqlm_exp::additive_matvec
