// The frame of most tensor-core matvecs here (mma_slices.cuh is the other): 16 weight rows a step, the K axis spread
// over the warps of a CTA, and the weight fragments made by a decoder (codewords from shared memory or L2, or unpacked
// integers).
//
// m16n8k16 wants, from thread (r, t) = (lane / 4, lane % 4), elements of rows r and r + 8. The K axis and the rows of a
// tile may be permuted freely, so thread (r, t) takes eight consecutive inputs (an "octet") of rows 2r and 2r + 1: two
// k16 steps use halves 0-3 and 4-7 of the octet, and a codeword of eight halves is a fragment as it lies in memory.
// The same permutation gives the other operand: eight consecutive x of token lane / 4, one 16-byte load.
//
//   block   32 octets x Steps octet parts: the inputs one warp handles at a time (256 inputs for octets of one part)
//   chunk   Warps x Blocks blocks: the inputs whose x sits in registers or shared memory at a time
//
// A CTA walks its row tiles once per chunk. Every few tiles its warps meet at a barrier and add up in shared memory,
// where sums of several chunks, the scales and the biases wait as well: with a barrier each tile all warps computed
// addresses, looked up and stored at the same time, which cost 1450 clocks a tile (H200; the look-ups of a 2x8 tile
// take 2048). The order of every addition is fixed: results are deterministic. Tried and dropped (H200, int4 b16,
// 14336x4096, 17.1 us): one warp per tile that adds while the others go on, 21.4 us; bulk prefetch of codes into L2
// four tiles ahead, 19.4 us.
#pragma once

#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::kernels::mma {

struct Common {
  const __half* x;        // [batch, in_features]
  const int32_t* x_perm;  // [in_features] or null; heeded where x waits in shared memory
  Epilogue out;
  int64_t rows, in_features;
  int batch, tiles, blocks, chunks;
  int tile_begin, tile_end, tiles_per_cta;  // of this launch
  int gather, buffers;  // tiles between two barriers; 2: while sums are added up, others are written
};

constexpr int64_t kSharedLimit = 227 * 1024;  // of one CTA on Hopper
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
  // Tiles a warp works on at once: with one, eight tokens left both shared memory and tensor cores waiting (ncu: 0.46
  // instructions a clock, short scoreboard). More tokens leave no registers for it.
  static constexpr int kTogether = Tiles8 == 1 ? Decoder::kTogether : 1;
  /// Tiles between two barriers at least; Decoder::kGather times as many where they fit.
  static constexpr int kLeast = (Tiles8 == 1 ? 2 : 1) * (InRegisters ? 2 : 1);
  static constexpr int kTileFloats = Warps * kTokens * kPitch;
  static constexpr int64_t kXBytes = InRegisters ? 0 : int64_t{kTokens} * kXPitch * 2;
  /// What a CTA keeps for each of its tiles from the first chunk to the last.
  static constexpr int64_t tile_bytes(int64_t chunks) { return 16 * 8 + (chunks > 1 ? kTokens * 16 * 4 : 0); }
};

/// Eight inputs of one token from column `first`, zeros past the end; one element at a time where x is permuted.
template <bool MayPermute, class C>
__device__ __forceinline__ uint4 load_octet(const C& c, int token, int64_t first) {
  if (token >= c.batch || first >= c.in_features) return make_uint4(0, 0, 0, 0);
  const __half* row = c.x + token * c.in_features;
  if constexpr (MayPermute) {
    if (c.x_perm) {
      uint32_t words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int32_t a = __ldg(c.x_perm + first + 2 * i), b = __ldg(c.x_perm + first + 2 * i + 1);
        words[i] = uint32_t{__half_as_ushort(__ldcg(row + a))} | uint32_t{__half_as_ushort(__ldcg(row + b))} << 16;
      }
      return make_uint4(words[0], words[1], words[2], words[3]);
    }
  }
  return load_fresh16(row + first);
}

/// `octets` of all tokens from column `first` into shared memory; the caller's barrier comes behind it. One load
/// waiting behind each store cost 460 clocks, and at 16 tokens a thread has sixteen (H200, int4 b16, 14336x4096: 16.2
/// against 14.9 us; bulk copies into four CTAs of a cluster at once, one reader for all, 14.9 too). Places of absent
/// tokens stay as they are: a column of the product depends on its own token only.
template <class C>
__device__ __forceinline__ void stage_x(const C& c, __half* x_shared, int pitch, int64_t first, int octets,
                                        int threads) {
  for (int i = static_cast<int>(threadIdx.x); i < c.batch * octets; i += threads) {
    const int token = i / octets, octet = i % octets;
    const int64_t column = first + octet * 8;
    __half* to = x_shared + token * pitch + octet * 8;
    if (c.x_perm) {
      *reinterpret_cast<uint4*>(to) = load_octet<true>(c, token, column);
    } else {
      const bool there = column < c.in_features;
      copy_shared16(to, c.x + token * c.in_features + (there ? column : 0), there);
    }
  }
  wait_copies();
}

/// y of rows `row` to `row` + 3 of a token; extras: their scales and biases.
__device__ __forceinline__ void finish_four(const Epilogue& out, const float2* extras, const float (&sum)[4], int token,
                                            int64_t row, int64_t rows) {
  __half y[4];
  const int64_t at = token * rows + row;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float2 extra = extras[k];
    float value = fmaf(sum[k], extra.x, extra.y);
    if (out.residual && row + k < rows) value += __half2float(__ldcg(out.residual + at + k));
    y[k] = __float2half_rn(value);
  }
  if (rows % 4 == 0 && row < rows) {
    *reinterpret_cast<uint2*>(out.y + at) = *reinterpret_cast<const uint2*>(y);
    return;
  }
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (row + k < rows) out.y[at + k] = y[k];
}

template <class Decoder, int Tiles8, int Warps, int Blocks, bool InRegisters, int CtasPerSm>
__global__ void __launch_bounds__(Warps * 32, CtasPerSm) kernel(const __grid_constant__ Params<Decoder> params) {
  using S = Shape<Decoder, Tiles8, Warps, Blocks, InRegisters>;
  extern __shared__ __align__(128) unsigned char shared[];
  const Common& c = params.common;
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
  const int r = lane >> 2, t = lane & 3;
  float* reduce = reinterpret_cast<float*>(shared + Decoder::shared_bytes(params.weights));
  __half* x_shared = reinterpret_cast<__half*>(reduce + c.buffers * c.gather * S::kTileFloats);
  float2* extras = reinterpret_cast<float2*>(reinterpret_cast<unsigned char*>(x_shared) + S::kXBytes);
  float* sums = reinterpret_cast<float*>(extras + c.tiles_per_cta * 16);
  trigger_dependents();

  Decoder decoder(params.weights, shared, lane);
  constexpr int kTogether = S::kTogether;
  typename Decoder::Codes now[Blocks][kTogether], next[Blocks][kTogether];
  const int first_tile = c.tile_begin + static_cast<int>(blockIdx.x), stride = static_cast<int>(gridDim.x);
  const int tiles_here = (c.tile_end - first_tile + stride - 1) / stride;
  const auto fetch = [&](int tile, int block) {
#pragma unroll
    for (int b = 0; b < Blocks; ++b)
#pragma unroll
      for (int k = 0; k < kTogether; ++k)
        if (k == 0 || tile + k * stride < c.tile_end)
          decoder.fetch(next[b][k], tile + k * stride, block + b, c.tiles, c.blocks);
  };
  typename Decoder::template Setup<Warps * 32> setup;
  decoder.begin(setup);
  fetch(first_tile, warp * Blocks);
  for (int i = static_cast<int>(threadIdx.x); i < tiles_here * 16; i += Warps * 32) {
    const int64_t row = (first_tile + i / 16 * int64_t{stride}) * 16 + i % 16;
    extras[i] = make_float2(c.out.scales && row < c.rows ? __half2float(c.out.scales[row]) : 1.F,
                            c.out.bias && row < c.rows ? __half2float(c.out.bias[row]) : 0.F);
  }
  decoder.finish(setup);
  __syncthreads();  // the decoder's tables stand
  wait_for_previous();

  int buffer = 0;
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
              x[b][s][part][n] = load_octet<false>(
                  c, n * 8 + r,
                  int64_t{block0 + b} * kBlockInputs<Decoder> + (Decoder::octet(s, t) * Decoder::kParts + part) * 8);
    } else {
      if (chunk > 0) __syncthreads();  // everyone is done with the last chunk's x
      stage_x(c, x_shared, S::kXPitch, chunk_begin, S::kChunkInputs / 8, Warps * 32);
      __syncthreads();
    }
    const bool last = chunk + 1 == c.chunks;
    int local = 0, waiting = 0;  // tiles done, and those whose sums are not added up yet
    const auto x_octet = [&](int b) {
      return [&, b](int s, int part, int n) -> uint4 {
        if constexpr (InRegisters) {
          return x[b][s][part][n];
        } else {
          const int column =
              (warp * Blocks + b) * kBlockInputs<Decoder> + (Decoder::octet(s, t) * Decoder::kParts + part) * 8;
          return *reinterpret_cast<const uint4*>(x_shared + (n * 8 + r) * S::kXPitch + column);
        }
      };
    };
    for (int tile = first_tile; tile < c.tile_end; tile += kTogether * stride) {
#pragma unroll
      for (int b = 0; b < Blocks; ++b)
#pragma unroll
        for (int k = 0; k < kTogether; ++k) now[b][k] = next[b][k];
      // The next tiles, or the first ones of the next chunk.
      const bool same_chunk = tile + kTogether * stride < c.tile_end;
      fetch(same_chunk ? tile + kTogether * stride : first_tile, same_chunk ? block0 : block0 + Warps * Blocks);
      const bool all = kTogether == 1 || tile + (kTogether - 1) * stride < c.tile_end;
      float acc[kTogether][Tiles8][4] = {};
#pragma unroll
      for (int b = 0; b < Blocks; ++b) {
        if (block0 + b >= c.blocks) break;
        if (all)
          decoder.template multiply<Tiles8, kTogether, kTogether>(now[b], x_octet(b), acc);
        else
          decoder.template multiply<Tiles8, kTogether, 1>(now[b], x_octet(b), acc);
      }
#pragma unroll
      for (int k = 0; k < kTogether; ++k) {
        if (k > 0 && !all) break;
        float* mine = reduce + (buffer * c.gather + waiting) * S::kTileFloats + warp * S::kTokens * kPitch;
#pragma unroll
        for (int n = 0; n < Tiles8; ++n)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            *reinterpret_cast<float2*>(mine + (n * 8 + 2 * t + i) * kPitch + 2 * r) =
                make_float2(acc[k][n][i], acc[k][n][i + 2]);
        ++waiting, ++local;
      }
      if (waiting < c.gather && same_chunk) continue;
      __syncthreads();
      // Four rows of a token a thread; other warps in each turn, so that none falls behind the others.
      for (int i = (static_cast<int>(threadIdx.x) + local * 64) % (Warps * 32); i < waiting * c.batch * 4;
           i += Warps * 32) {
        const int which = i / 4 / c.batch, token = i / 4 % c.batch, row = i % 4 * 4, here = local - waiting + which;
        const int64_t out_row = (first_tile + here * int64_t{stride}) * 16 + row;
        const float* from = reduce + (buffer * c.gather + which) * S::kTileFloats + token * kPitch + row;
        float sum[4] = {};
#pragma unroll
        for (int w = 0; w < Warps; ++w) {
          const float4 part = *reinterpret_cast<const float4*>(from + w * S::kTokens * kPitch);
          sum[0] += part.x, sum[1] += part.y, sum[2] += part.z, sum[3] += part.w;
        }
        if (c.chunks > 1) {
          float4& total = *reinterpret_cast<float4*>(sums + (here * S::kTokens + token) * 16 + row);
          if (chunk > 0) sum[0] += total.x, sum[1] += total.y, sum[2] += total.z, sum[3] += total.w;
          total = make_float4(sum[0], sum[1], sum[2], sum[3]);
        }
        if (last) finish_four(c.out, extras + here * 16 + row, sum, token, out_row, c.rows);
      }
      waiting = 0;
      buffer ^= c.buffers - 1;
    }
  }
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
  // What a CTA keeps per tile must fit beside the tables and x: huge outputs take several launches.
  constexpr int64_t kGathered = int64_t{S::kTileFloats} * 4;
  const int64_t room = kSharedLimit - Decoder::shared_bytes(params.weights) - S::kXBytes;
  const int64_t most = (room - 2 * S::kTogether * kGathered) / S::tile_bytes(c.chunks);
  if (most < 1) return Status::kUnsupportedShape;
  for (c.tile_begin = 0; c.tile_begin < c.tiles; c.tile_begin = c.tile_end) {
    const int left = c.tiles - c.tile_begin, ctas = left < sms * CtasPerSm ? left : sms * CtasPerSm;
    c.tiles_per_cta = (left + ctas - 1) / ctas;
    if (c.tiles_per_cta > most) c.tiles_per_cta = static_cast<int>(most);
    c.tile_end = left <= int64_t{ctas} * c.tiles_per_cta ? c.tiles : c.tile_begin + ctas * c.tiles_per_cta;
    // One barrier a chunk where the sums of all tiles fit; else as many tiles as fit twice.
    const int64_t fit = (room - c.tiles_per_cta * S::tile_bytes(c.chunks)) / kGathered;
    const int all = (c.tiles_per_cta + S::kTogether - 1) / S::kTogether * S::kTogether;
    const int most_gathered = Tiles8 > 2 ? S::kLeast : Decoder::kGather * S::kLeast;
    c.buffers = c.chunks == 1 && all <= fit && all <= most_gathered ? 1 : 2;
    c.gather = c.buffers == 1 ? all : static_cast<int>(fit / 2 / S::kTogether * S::kTogether);
    if (c.gather > most_gathered) c.gather = most_gathered;
    if (c.gather > all) c.gather = all;
    Launch how;
    how.grid = dim3(static_cast<unsigned>(ctas));
    how.block = dim3(Warps * 32);
    how.shared_bytes = Decoder::shared_bytes(params.weights) + S::kXBytes + c.tiles_per_cta * S::tile_bytes(c.chunks) +
                       c.buffers * c.gather * kGathered;
    how.programmatic = programmatic;
    how.stream = stream;
    const Status status = launch<kernel<Decoder, Tiles8, Warps, Blocks, InRegisters, CtasPerSm>>(how, params);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

}  // namespace aqlm_exp::kernels::mma
