// The frame of all tensor-core matvecs here: 16 weight rows a step, the K axis spread over the warps of a CTA, and the
// weight fragments made by a decoder (codewords from shared memory or L2, or unpacked integers).
//
// m16n8k16 wants, from thread (r, t) = (lane / 4, lane % 4), elements of rows r and r + 8. The K axis and the rows of a
// tile may be permuted freely, so thread (r, t) takes eight consecutive inputs (an "octet") of rows 2r and 2r + 1: two
// k16 steps use halves 0-3 and 4-7 of the octet, and a codeword of eight halves is a fragment as it lies in memory.
// The same permutation gives the other operand: eight consecutive x of token lane / 4, one 16-byte load.
//
//   block   32 octets x Steps octet parts: the inputs one warp handles at a time (256 inputs for octets of one part)
//   chunk   Warps x Blocks blocks: the inputs whose x sits in registers or shared memory at a time
//
// A CTA walks its row tiles once per chunk; warps meet in shared memory once per tile (double-buffered, one barrier),
// and sums of several chunks are kept there. Nothing depends on scheduling order: results are deterministic.
#pragma once

#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::kernels::mma {

struct Common {
  const __half* x;        // [batch, in_features]
  const int32_t* x_perm;  // [in_features] or null
  Epilogue out;
  int64_t rows, in_features;
  int batch, tiles, blocks, chunks, tiles_per_cta;
};

constexpr int kPitch = 20;  // floats of one token's 16 rows: 8-byte stores of half a warp meet all banks once

template <class Decoder>
struct Params {
  Common common;
  typename Decoder::Weights weights;
};

/// Inputs of one block: 8 steps x 4 threads x Parts octets.
template <class Decoder>
constexpr int kBlockInputs = 256 * Decoder::kParts;

template <class Decoder, int Tiles8, int Warps, int Blocks, bool InRegisters>
struct Shape {
  static constexpr int kTokens = Tiles8 * 8;
  static constexpr int kChunkInputs = Warps * Blocks * kBlockInputs<Decoder>;
  static constexpr int kXPitch = kChunkInputs + 32;  // halves: tokens of a phase fall into different banks
  static constexpr int64_t kReduceBytes = int64_t{2} * Warps * kTokens * kPitch * 4;
  static constexpr int64_t kXBytes = InRegisters ? 0 : int64_t{kTokens} * kXPitch * 2;
  static int64_t shared_bytes(int64_t decoder_bytes, int64_t tiles_per_cta, int64_t chunks) {
    return decoder_bytes + kReduceBytes + kXBytes + tiles_per_cta * 16 * 8 +
           (chunks > 1 ? tiles_per_cta * kTokens * 16 * 4 : 0);
  }
};

/// Eight inputs of one token from column `first`, zeros past the end; one element at a time where x is permuted.
__device__ __forceinline__ uint4 load_octet(const Common& c, int token, int64_t first) {
  if (token >= c.batch || first >= c.in_features) return make_uint4(0, 0, 0, 0);
  const __half* row = c.x + token * c.in_features;
  if (!c.x_perm) return load_fresh16(row + first);
  uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int32_t a = __ldg(c.x_perm + first + 2 * i), b = __ldg(c.x_perm + first + 2 * i + 1);
    words[i] = uint32_t{__half_as_ushort(__ldcg(row + a))} | uint32_t{__half_as_ushort(__ldcg(row + b))} << 16;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

/// Named barriers: the buffer is full (0, 1) or empty (2, 3); the computing warps among themselves (4).
__device__ __forceinline__ void barrier_wait(int id, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(id + 1), "r"(threads) : "memory");
}
__device__ __forceinline__ void barrier_arrive(int id, int threads) {
  asm volatile("barrier.arrive %0, %1;" ::"r"(id + 1), "r"(threads) : "memory");
}

/// Adds the warps' sums of one tile in a fixed order, and finishes its rows after the last chunk; run by one warp, a lane
/// taking four rows of one token at a time. `ready` waits until all sums are there. extras: (scale, bias) of the 16 rows.
template <int Tiles8, int Warps, class Ready>
__device__ __forceinline__ void reduce_tile(const Common& c, const float* buffer, float* sums, const float2* extras,
                                            int64_t tile, bool first, bool last, Ready&& ready) {
  constexpr int kTokens = Tiles8 * 8;
  const int lane = static_cast<int>(threadIdx.x) & 31, quad = lane % 4 * 4;
  const int64_t row0 = tile * 16 + quad;
  const bool whole = c.rows % 4 == 0;
  uint2 residual[Tiles8];
  if (last && c.out.residual && whole) {
#pragma unroll
    for (int j = 0; j < Tiles8; ++j) {
      const int token = j * 8 + lane / 4;
      residual[j] = token < c.batch && row0 < c.rows
                        ? __ldcg(reinterpret_cast<const uint2*>(c.out.residual + token * c.rows + row0))
                        : make_uint2(0, 0);
    }
  }
  ready();
#pragma unroll
  for (int j = 0; j < Tiles8; ++j) {
    const int token = j * 8 + lane / 4;
    const float* from = buffer + token * kPitch + quad;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < Warps; ++w) {
      const float4 v = *reinterpret_cast<const float4*>(from + w * kTokens * kPitch);
      sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    if (!first || !last) {
      float4& cell = *reinterpret_cast<float4*>(sums + token * 16 + quad);
      if (!first) sum.x += cell.x, sum.y += cell.y, sum.z += cell.z, sum.w += cell.w;
      cell = sum;
    }
    if (!last || token >= c.batch || row0 >= c.rows) continue;
    float value[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) value[i] = fmaf(value[i], extras[quad + i].x, extras[quad + i].y);
    __half* y = c.out.y + token * c.rows + row0;
    if (whole) {
      if (c.out.residual) {
        const float2 a = __half22float2(*reinterpret_cast<const __half2*>(&residual[j].x));
        const float2 b = __half22float2(*reinterpret_cast<const __half2*>(&residual[j].y));
        value[0] += a.x, value[1] += a.y, value[2] += b.x, value[3] += b.y;
      }
      const __half2 pair[2] = {__floats2half2_rn(value[0], value[1]), __floats2half2_rn(value[2], value[3])};
      *reinterpret_cast<uint2*>(y) = make_uint2(*reinterpret_cast<const uint32_t*>(&pair[0]),
                                                *reinterpret_cast<const uint32_t*>(&pair[1]));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (row0 + i >= c.rows) break;
        if (c.out.residual) value[i] += __half2float(c.out.residual[token * c.rows + row0 + i]);
        y[i] = __float2half_rn(value[i]);
      }
    }
  }
}

template <class Decoder, int Tiles8, int Warps, int Blocks, bool InRegisters, int CtasPerSm>
__global__ void __launch_bounds__(Warps * 32, CtasPerSm) kernel(const __grid_constant__ Params<Decoder> params) {
  using S = Shape<Decoder, Tiles8, Warps, Blocks, InRegisters>;
  // Products that add to the same accumulator wait for each other: few token tiles get two chains each.
  constexpr int kChains = Tiles8 == 1 ? 2 : 1;
  extern __shared__ __align__(128) unsigned char shared[];
  const Common& c = params.common;
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
  const int r = lane >> 2, t = lane & 3;
  float* reduce = reinterpret_cast<float*>(shared + Decoder::shared_bytes(params.weights));
  __half* x_shared = reinterpret_cast<__half*>(shared + Decoder::shared_bytes(params.weights) + S::kReduceBytes);
  float2* extras = reinterpret_cast<float2*>(shared + Decoder::shared_bytes(params.weights) + S::kReduceBytes + S::kXBytes);
  float* sums = reinterpret_cast<float*>(extras + c.tiles_per_cta * 16);
  trigger_dependents();

  Decoder decoder(params.weights, shared, lane);
  typename Decoder::Codes now[Blocks], next[Blocks];
  const int first_tile = static_cast<int>(blockIdx.x), stride = static_cast<int>(gridDim.x);
  const int tiles_here = (c.tiles - first_tile + stride - 1) / stride, total = tiles_here * c.chunks;
#pragma unroll
  for (int b = 0; b < Blocks; ++b) decoder.fetch(next[b], first_tile, warp * Blocks + b, c.tiles, c.blocks);
  for (int i = static_cast<int>(threadIdx.x); i < tiles_here * 16; i += Warps * 32) {
    const int64_t row = (first_tile + i / 16 * int64_t{stride}) * 16 + i % 16;
    extras[i] = make_float2(c.out.scales && row < c.rows ? __half2float(c.out.scales[row]) : 1.F,
                            c.out.bias && row < c.rows ? __half2float(c.out.bias[row]) : 0.F);
  }
  decoder.setup();
  __syncthreads();  // the decoder's tables stand
  wait_for_previous();

  const auto reduce_step = [&](int step) {
    const int chunk = step / tiles_here, local = step % tiles_here;
    reduce_tile<Tiles8, Warps>(c, reduce + (step & 1) * Warps * S::kTokens * kPitch, sums + local * S::kTokens * 16,
                               extras + local * 16, first_tile + local * int64_t{stride}, chunk == 0,
                               chunk + 1 == c.chunks, [&] { barrier_wait(step & 1, Warps * 32); });
    if (step + 2 < total) barrier_arrive(2 + (step & 1), Warps * 32);
  };

  int step = 0;
  for (int chunk = 0; chunk < c.chunks; ++chunk) {
    const int64_t chunk_begin = static_cast<int64_t>(chunk) * S::kChunkInputs;
    const int block0 = (chunk * Warps + warp) * Blocks;
    uint4 x[InRegisters ? Blocks : 1][InRegisters ? 8 : 1][Decoder::kParts][InRegisters ? Tiles8 : 1];
    if constexpr (InRegisters) {
#pragma unroll
      for (int b = 0; b < Blocks; ++b)
#pragma unroll
        for (int s = 0; s < 8; ++s)
#pragma unroll
          for (int part = 0; part < Decoder::kParts; ++part)
#pragma unroll
            for (int n = 0; n < Tiles8; ++n)
              x[b][s][part][n] = load_octet(
                  c, n * 8 + r,
                  int64_t{block0 + b} * kBlockInputs<Decoder> + (Decoder::octet(s, t) * Decoder::kParts + part) * 8);
    } else {
      if (chunk > 0) barrier_wait(4, Warps * 32);  // everyone is done with the last chunk's x
      constexpr int kOctets = S::kChunkInputs / 8;
      // Places of absent tokens stay as they are: a column of the product depends on its own token only.
      for (int i = static_cast<int>(threadIdx.x); i < c.batch * kOctets; i += Warps * 32) {
        const int token = i / kOctets, octet = i % kOctets;
        *reinterpret_cast<uint4*>(x_shared + token * S::kXPitch + octet * 8) =
            load_octet(c, token, chunk_begin + octet * 8);
      }
      barrier_wait(4, Warps * 32);
    }
    for (int tile = first_tile; tile < c.tiles; tile += stride, ++step) {
#pragma unroll
      for (int b = 0; b < Blocks; ++b) now[b] = next[b];
      // The next tile, or the first tile of the next chunk.
      const bool same_chunk = tile + stride < c.tiles;
      const int ahead_tile = same_chunk ? tile + stride : first_tile;
      const int ahead_block = same_chunk ? block0 : block0 + Warps * Blocks;
#pragma unroll
      for (int b = 0; b < Blocks; ++b) decoder.fetch(next[b], ahead_tile, ahead_block + b, c.tiles, c.blocks);
      float acc[kChains][Tiles8][4] = {};
#pragma unroll
      for (int b = 0; b < Blocks; ++b) {
        if (block0 + b >= c.blocks) break;
        decoder.template multiply<Tiles8, kChains>(
            now[b],
            [&](int s, int part, int n) -> uint4 {
              if constexpr (InRegisters) {
                return x[b][s][part][n];
              } else {
                const int column =
                    (warp * Blocks + b) * kBlockInputs<Decoder> + (Decoder::octet(s, t) * Decoder::kParts + part) * 8;
                return *reinterpret_cast<const uint4*>(x_shared + (n * 8 + r) * S::kXPitch + column);
              }
            },
            acc);
      }
      const int buffer = step & 1;
      if (step > 0 && (step - 1) % Warps == warp) reduce_step(step - 1);  // nobody is held up: two buffers
      if (step >= 2 && (step - 2) % Warps != warp) barrier_wait(2 + buffer, Warps * 32);
      float* mine = reduce + (buffer * Warps + warp) * S::kTokens * kPitch;
#pragma unroll
      for (int n = 0; n < Tiles8; ++n) {
        float v[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) v[i] = kChains == 2 ? acc[0][n][i] + acc[kChains - 1][n][i] : acc[0][n][i];
#pragma unroll
        for (int i = 0; i < 2; ++i)
          *reinterpret_cast<float2*>(mine + (n * 8 + 2 * t + i) * kPitch + 2 * r) = make_float2(v[i], v[i + 2]);
      }
      if (step % Warps != warp) barrier_arrive(buffer, Warps * 32);
    }
  }
  if ((total - 1) % Warps == warp) reduce_step(total - 1);
}

/// Host side: picks the grid and launches. `batch` must fit Tiles8 * 8 tokens.
template <class Decoder, int Tiles8, int Warps, int Blocks, bool InRegisters, int CtasPerSm>
Status run(Params<Decoder> params, bool programmatic, cudaStream_t stream) noexcept {
  using S = Shape<Decoder, Tiles8, Warps, Blocks, InRegisters>;
  const int sms = multiprocessors();
  if (sms == 0) return Status::kNoDevice;
  Common& c = params.common;
  c.tiles = static_cast<int>((c.rows + 15) / 16);
  c.blocks = static_cast<int>((c.in_features + kBlockInputs<Decoder> - 1) / kBlockInputs<Decoder>);
  c.chunks = (c.blocks + Warps * Blocks - 1) / (Warps * Blocks);
  const int ctas = c.tiles < sms * CtasPerSm ? c.tiles : sms * CtasPerSm;
  c.tiles_per_cta = (c.tiles + ctas - 1) / ctas;
  Launch how;
  how.grid = dim3(static_cast<unsigned>(ctas));
  how.block = dim3(Warps * 32);
  how.shared_bytes = S::shared_bytes(Decoder::shared_bytes(params.weights), c.tiles_per_cta, c.chunks);
  how.programmatic = programmatic;
  how.stream = stream;
  return launch<kernel<Decoder, Tiles8, Warps, Blocks, InRegisters, CtasPerSm>>(how, params);
}

}  // namespace aqlm_exp::kernels::mma
