// Design E of design/performance.md section 1.9 in the frames of kernels/platform/mma_tiles.cuh and
// mma_slices.cuh. Codes are stored so
// that one mask gives the pair of 16-bit numbers 1024 + q (the mantissa of fp16 1024 has the last place 1); q -
// zero_point is rounded once in fp16, exact for integer zero points, and a group's sum is scaled in fp32. Tables of
// levels (NF4): a byte of two codes indexes a table of half2 pairs that is private to a shared-memory bank.
#include "kernels/platform/mma_slices.cuh"
#include "kernels/platform/mma_tiles.cuh"
#include "kernels/scalar_matvec/scalar_cuda.h"

namespace aqlm_exp::scalar_matvec {
namespace {

using kernels::Status;
namespace mma = kernels::mma;

struct Weights {
  const unsigned char* codes;
  const __half2* scales;  // [group][rows padded to 16]: scale, zero point
  const __half* levels;
  int64_t padded_rows, group_size;
  int groups;
};

/// (a & b) | c
__device__ __forceinline__ uint32_t and_or(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t d;
  asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
__device__ __forceinline__ uint32_t subtract(uint32_t a, uint32_t b) {
  const __half2 d = __hsub2(*reinterpret_cast<__half2*>(&a), *reinterpret_cast<__half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&d);
}
__device__ __forceinline__ uint32_t add(uint32_t a, uint32_t b) {
  const __half2 d = __hadd2(*reinterpret_cast<__half2*>(&a), *reinterpret_cast<__half2*>(&b));
  return *reinterpret_cast<const uint32_t*>(&d);
}
constexpr uint32_t kMagic = 0x64006400U;  // 1024 in both halves

/// Words of one lane for one block of 256 inputs and one tile: `Bits` uint4.
template <int Bits>
__device__ __forceinline__ void load_words(uint32_t (&words)[4 * Bits], const unsigned char* from, int lane) {
#pragma unroll
  for (int i = 0; i < Bits; ++i) {
    const uint4 v = kernels::load_stream16(from + (i * 32 + lane) * 16);
    words[4 * i] = v.x, words[4 * i + 1] = v.y, words[4 * i + 2] = v.z, words[4 * i + 3] = v.w;
  }
}

/// Pair j of step s and row 2r + Row as 1024 + q in two halves.
template <int Bits>
__device__ __forceinline__ uint32_t magic_pair(const uint32_t (&words)[4 * Bits], int s, int row, int j) {
  if constexpr (Bits == 4) {
    return and_or(words[2 * s + row] >> (4 * j), 0x000F000FU, kMagic);
  } else {
    const uint32_t low = and_or(words[s] >> (8 * row + 2 * j), 0x00030003U, kMagic);
    if constexpr (Bits == 2) return low;
    const int at = (s & 1) * 8 + 4 * row + j;
    const uint32_t high = words[Bits == 3 ? 8 + s / 2 : 0];
    return and_or(at >= 2 ? high >> (at - 2) : high << (2 - at), 0x00040004U, low);
  }
}

__device__ __forceinline__ uint32_t level_pair(const uint32_t* table, uint32_t word, int j, int lane) {
  return table[((word >> (8 * j)) & 255U) * 32 + lane];
}

/// WholeZeros: zero points are whole numbers, so that 1024 + zero_point is exact in fp16 and one subtraction is enough.
template <int Bits, int StepsPerGroup, bool Levels, bool WholeZeros = false>
struct IntegerWords {
  // Two tiles at once, which helps codewords, cost 7% here (H200, int4 b1, 14336x4096: 12.2 against 11.4 us); one
  // barrier for all tiles 18.0 against 15.8 us at b16. kTileClocks: what a tile and block cost a multiprocessor,
  // roughly.
  static constexpr int kParts = 1, kTogether = 1, kGather = 1, kTileClocks = 64;
  static constexpr int kGroups = 8 / StepsPerGroup;  // of one block
  using Weights = scalar_matvec::Weights;
  struct Codes {
    uint32_t words[4 * Bits];
    uint2 scales[kGroups];  // (scale, zero point) of rows 2r and 2r + 1
  };
  __host__ __device__ static int64_t shared_bytes(const Weights&) { return Levels ? 32768 : 0; }
  __device__ static constexpr int octet(int s, int t) { return 4 * s + t; }

  __device__ IntegerWords(const Weights& weights, unsigned char* shared, int lane_)
      : w(weights), table(reinterpret_cast<uint32_t*>(shared)), lane(lane_) {}
  template <int Threads>
  struct Setup {};
  template <int Threads>
  __device__ void begin(Setup<Threads>&) const {}
  template <int Threads>
  __device__ void finish(const Setup<Threads>&) const {
    if constexpr (Levels)
      for (int i = static_cast<int>(threadIdx.x); i < 8192; i += Threads) {
        const int byte = i >> 5;
        table[i] = uint32_t{__half_as_ushort(__ldg(w.levels + (byte & 15)))} |
                   uint32_t{__half_as_ushort(__ldg(w.levels + (byte >> 4)))} << 16;
      }
  }
  __device__ void fetch(Codes& codes, int tile, int block, int tiles, int blocks) const {
    if (block >= blocks) return;  // never multiplied
    load_words<Bits>(codes.words, w.codes + (int64_t{block} * tiles + tile) * (512 * Bits), lane);
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      int64_t group =
          StepsPerGroup == 8 ? (w.groups == 1 ? 0 : int64_t{block} * 256 / w.group_size) : int64_t{block} * kGroups + g;
      if (group >= w.groups) group = w.groups - 1;  // columns past in_features meet zeros
      codes.scales[g] = kernels::load_stream8(w.scales + group * w.padded_rows + tile * 16 + 2 * (lane >> 2));
    }
  }
  /// Pairs of step s: rows 2r (`low`) and 2r + 1 (`high`) of one tile.
  __device__ void unpack(const Codes& codes, int s, uint32_t zero0, uint32_t zero1, uint32_t (&low)[4],
                         uint32_t (&high)[4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if constexpr (Levels) {
        low[j] = subtract(level_pair(table, codes.words[2 * s], j, lane), zero0);
        high[j] = subtract(level_pair(table, codes.words[2 * s + 1], j, lane), zero1);
      } else {
        const uint32_t first = magic_pair<Bits>(codes.words, s, 0, j), second = magic_pair<Bits>(codes.words, s, 1, j);
        low[j] = subtract(WholeZeros ? first : subtract(first, kMagic), zero0);
        high[j] = subtract(WholeZeros ? second : subtract(second, kMagic), zero1);
      }
    }
  }
  template <int Tiles8, int N, int Used, class X>
  __device__ void multiply(const Codes (&codes)[N], X&& x, float (&acc)[N][Tiles8][4]) const {
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      float part[Used][Tiles8][4] = {};
      uint32_t zeros[Used][2];  // of rows 2r and 2r + 1, twice each; with WholeZeros 1024 more
#pragma unroll
      for (int k = 0; k < Used; ++k) {
        zeros[k][0] = __byte_perm(codes[k].scales[g].x, 0, 0x3232);
        zeros[k][1] = __byte_perm(codes[k].scales[g].y, 0, 0x3232);
        if constexpr (WholeZeros && !Levels) {
          zeros[k][0] = add(zeros[k][0], kMagic);
          zeros[k][1] = add(zeros[k][1], kMagic);
        }
      }
#pragma unroll
      for (int step = 0; step < StepsPerGroup; ++step) {
        const int s = g * StepsPerGroup + step;
        uint32_t low[Used][4], high[Used][4];
#pragma unroll
        for (int k = 0; k < Used; ++k) unpack(codes[k], s, zeros[k][0], zeros[k][1], low[k], high[k]);
#pragma unroll
        for (int n = 0; n < Tiles8; ++n) {
          const uint4 b = x(s, 0, n);
#pragma unroll
          for (int k = 0; k < Used; ++k) {
            kernels::mma_16816(part[k][n], low[k][0], high[k][0], low[k][1], high[k][1], b.x, b.y);
            kernels::mma_16816(part[k][n], low[k][2], high[k][2], low[k][3], high[k][3], b.z, b.w);
          }
        }
      }
#pragma unroll
      for (int k = 0; k < Used; ++k) {
        const float scale0 = __low2float(*reinterpret_cast<const __half2*>(&codes[k].scales[g].x));
        const float scale1 = __low2float(*reinterpret_cast<const __half2*>(&codes[k].scales[g].y));
#pragma unroll
        for (int n = 0; n < Tiles8; ++n) {
          acc[k][n][0] = fmaf(part[k][n][0], scale0, acc[k][n][0]);
          acc[k][n][1] = fmaf(part[k][n][1], scale0, acc[k][n][1]);
          acc[k][n][2] = fmaf(part[k][n][2], scale1, acc[k][n][2]);
          acc[k][n][3] = fmaf(part[k][n][3], scale1, acc[k][n][3]);
        }
      }
    }
  }

  const Weights& w;
  uint32_t* table;
  int lane;
};

Weights weights_of(const ScalarShape& shape, const ScalarCudaCall& call) {
  return {static_cast<const unsigned char*>(call.packed_codes),
          static_cast<const __half2*>(call.packed_scales),
          static_cast<const __half*>(call.levels),
          (shape.out_features + 15) / 16 * 16,
          shape.group_size,
          static_cast<int>(shape.num_groups())};
}

/// The tokens [done, done + count) of a call.
template <class Params>
Params params_of(const ScalarShape& shape, const ScalarCudaCall& call, int64_t done, int64_t count) {
  Params p{};
  p.common.x = static_cast<const __half*>(call.x) + done * shape.in_features;
  p.common.x_perm = call.x_perm;
  p.common.out = {nullptr, static_cast<const __half*>(call.bias),
                  call.residual ? static_cast<const __half*>(call.residual) + done * shape.out_features : nullptr,
                  static_cast<__half*>(call.y) + done * shape.out_features};
  p.common.rows = shape.out_features;
  p.common.in_features = shape.in_features;
  p.common.batch = static_cast<int>(count);
  p.weights = weights_of(shape, call);
  return p;
}

/// Tall outputs walk enough tiles to hide what waits on shared memory; the others are faster with x in registers, which
/// leaves room for 8 warps (int4 b16: 14336x4096 15.9 and 17.5 us, 4096x4096 8.5 and 7.0, 4096x14336 30.7 and 23.0).
bool x_in_registers(const ScalarShape& shape, int64_t count, bool permuted) {
  return count > 8 && !permuted && (shape.out_features <= 8192 || shape.in_features > 4096);
}

/// Wide inputs over few rows: x of the whole row does not fit, and a cluster that shares it is faster (H200,
/// 4096x14336, us, cluster against several passes: int4 b1 11.9 and 13.5, b4 12.8 and 16.7, b16 19.6 and 23.1; int2
/// b16 19.5 and 31).
bool in_slices(const ScalarShape& shape) { return shape.in_features > 4096 && shape.out_features <= 8192; }

template <int Bits, int StepsPerGroup, bool Levels, bool WholeZeros>
Status run(const ScalarShape& shape, const ScalarCudaCall& call) {
  using Decoder = IntegerWords<Bits, StepsPerGroup, Levels, WholeZeros>;
  const auto stream = static_cast<cudaStream_t>(call.stream);
  // At most 16 tokens a launch: 32 at once took 38.5 us where two launches of 16 take 34 (H200, int4 g128, 14336x4096).
  for (int64_t done = 0; done < call.batch; done += 16) {
    const int64_t count = call.batch - done < 16 ? call.batch - done : 16;
    Status status;
    if (in_slices(shape)) {
      const auto p = params_of<mma::SliceParams<Decoder>>(shape, call, done, count);
      status = count <= 8 ? mma::run_slices<Decoder, 1, 16>(p, call.programmatic, stream)
                          : mma::run_slices<Decoder, 2, 16>(p, call.programmatic, stream);
      if (status != Status::kOk) return status;
      continue;
    }
    const auto p = params_of<mma::Params<Decoder>>(shape, call, done, count);
    if (count <= 8)
      status = mma::run<Decoder, 1, 16, 1, false, 1>(p, call.programmatic, stream);
    else if (Bits == 4 && !Levels && x_in_registers(shape, count, call.x_perm != nullptr))
      status = mma::run < Decoder, 2, Bits == 4 && !Levels ? 8 : 16, Bits == 4 && !Levels ? 2 : 1, Bits == 4 && !Levels,
      1 > (p, call.programmatic, stream);
    else
      status = mma::run<Decoder, 2, 16, 1, false, 1>(p, call.programmatic, stream);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

template <int Bits, bool Levels, bool WholeZeros = false>
Status run_groups(const ScalarShape& shape, const ScalarCudaCall& call) {
  if (shape.num_groups() == 1 || shape.group_size % 256 == 0) return run<Bits, 8, Levels, WholeZeros>(shape, call);
  if (shape.group_size == 128) return run<Bits, 4, Levels, WholeZeros>(shape, call);
  if (shape.group_size == 64) return run<Bits, 2, Levels, WholeZeros>(shape, call);
  return run<Bits, 1, Levels, WholeZeros>(shape, call);
}

struct DequantiseParams {
  Weights w;
  __half* out;
  int64_t in_features, row_begin, row_end;
  int blocks, tiles;
};

/// A warp per (tile, block of 256 inputs): a lane writes octets of rows 2r and 2r + 1.
template <int Bits, bool Levels>
__global__ void __launch_bounds__(256) dequantise_kernel(const __grid_constant__ DequantiseParams p) {
  const int lane = static_cast<int>(threadIdx.x) & 31, r = lane >> 2, t = lane & 3;
  kernels::trigger_dependents();
  kernels::wait_for_previous();  // the GEMM of the last chunk may still read the buffer
  const int64_t jobs = (p.row_end - p.row_begin + 15) / 16 * p.blocks, warps = int64_t{gridDim.x} * 8;
  for (int64_t job = int64_t{blockIdx.x} * 8 + (threadIdx.x >> 5); job < jobs; job += warps) {
    const int64_t tile = p.row_begin / 16 + job / p.blocks, block = job % p.blocks;
    uint32_t words[4 * Bits];
    load_words<Bits>(words, p.w.codes + (block * p.tiles + tile) * (512 * Bits), lane);
#pragma unroll
    for (int s = 0; s < 8; ++s) {
      const int64_t column = block * 256 + 32 * s + 8 * t;
      if (column >= p.in_features) continue;
      const int64_t group = p.w.groups == 1 ? 0 : column / p.w.group_size;
#pragma unroll
      for (int second = 0; second < 2; ++second) {
        const int64_t row = tile * 16 + 2 * r + second;
        if (row >= p.row_end) continue;
        const float2 scale = __half22float2(p.w.scales[group * p.w.padded_rows + row]);
        uint32_t packed[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float2 q;
          if constexpr (Levels) {
            const uint32_t byte = words[2 * s + second] >> (8 * j);
            q = make_float2(__half2float(p.w.levels[byte & 15U]), __half2float(p.w.levels[(byte >> 4) & 15U]));
          } else {
            const uint32_t pair = magic_pair<Bits>(words, s, second, j);
            q = __half22float2(*reinterpret_cast<const __half2*>(&pair));
            q.x -= 1024.F, q.y -= 1024.F;
          }
          const __half2 value = __floats2half2_rn((q.x - scale.y) * scale.x, (q.y - scale.y) * scale.x);
          packed[j] = *reinterpret_cast<const uint32_t*>(&value);
        }
        *reinterpret_cast<uint4*>(p.out + (row - p.row_begin) * p.in_features + column) =
            make_uint4(packed[0], packed[1], packed[2], packed[3]);
      }
    }
  }
}

}  // namespace

Status scalar_cuda_available() noexcept {
  int count = 0, major = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    return Status::kNoDevice;
  }
  const int device = kernels::current_device();
  if (device < 0 || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      major != 9)  // built for sm_90a only
    return Status::kNoDevice;
  return Status::kOk;
}

Status scalar_mma_cuda_supports(const ScalarShape& shape, int64_t batch, bool levels) noexcept {
  const int64_t g = shape.group_size;
  const bool groups = shape.valid() && (g == 32 || g == 64 || g == 128 || g % 256 == 0 || shape.num_groups() == 1);
  const bool ok = groups && shape.in_features % 8 == 0 && (!levels || shape.nbits == 4) && batch >= 1 && batch <= 64;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

Status scalar_mma_cuda_f16(const ScalarShape& shape, const ScalarCudaCall& call) noexcept {
  const Status status = scalar_mma_cuda_supports(shape, call.batch, call.levels != nullptr);
  if (status != Status::kOk) return status;
  if (call.levels) return run_groups<4, true>(shape, call);
  if (shape.nbits == 4 && call.whole_zero_points) return run_groups<4, false, true>(shape, call);
  return shape.nbits == 4   ? run_groups<4, false>(shape, call)
         : shape.nbits == 3 ? run_groups<3, false>(shape, call)
                            : run_groups<2, false>(shape, call);
}

Status scalar_dequantise_cuda_f16(const ScalarShape& shape, const ScalarCudaCall& call, int64_t row_begin,
                                  int64_t row_end, void* weight) noexcept {
  const Status status = scalar_mma_cuda_supports(shape, 1, call.levels != nullptr);
  if (status != Status::kOk) return status;
  if (row_begin < 0 || row_begin % 16 != 0 || row_begin >= row_end || row_end > shape.out_features)
    return Status::kUnsupportedShape;
  const int sms = kernels::multiprocessors();
  if (sms == 0) return Status::kNoDevice;
  const DequantiseParams p{weights_of(shape, call),
                           static_cast<__half*>(weight),
                           shape.in_features,
                           row_begin,
                           row_end,
                           static_cast<int>((shape.in_features + 255) / 256),
                           static_cast<int>((shape.out_features + 15) / 16)};
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>(sms * 8));
  how.block = dim3(256);
  how.programmatic = call.programmatic;
  how.stream = static_cast<cudaStream_t>(call.stream);
  if (call.levels) return kernels::launch<dequantise_kernel<4, true>>(how, p);
  return shape.nbits == 4   ? kernels::launch<dequantise_kernel<4, false>>(how, p)
         : shape.nbits == 3 ? kernels::launch<dequantise_kernel<3, false>>(how, p)
                            : kernels::launch<dequantise_kernel<2, false>>(how, p);
}

}  // namespace aqlm_exp::scalar_matvec
