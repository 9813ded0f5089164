// Tensor-core matvecs whose K axis is spread over a cluster of CTAs and whose rows are spread over warps. Fragments,
// decoders and the permutation of inputs are those of mma_tiles.cuh.
//
//   cluster   C CTAs share a block of rows; each holds its slice of x in shared memory
//   warp      a tile of 16 rows at a time over the CTA's slice, sums in registers: no barrier while it runs
//   row warps x depth warps: few tiles are shared by several warps, each with its part of the slice
//
// Against mma_tiles.cuh, where all warps of a CTA share each tile: no barrier every few tiles, and x is fetched once
// per cluster instead of once per CTA. Partial sums wait in shared memory, [depth warp][token][row], and meet through
// distributed shared memory once, at the end. The order of every addition is fixed: results are deterministic.
#pragma once

#include "kernels/platform/cluster.cuh"
#include "kernels/platform/mma_tiles.cuh"

namespace aqlm_exp::kernels::mma {

struct SliceCommon {
  const __half* x;        // [batch, in_features]
  const int32_t* x_perm;  // [in_features] or null
  Epilogue out;
  int64_t rows, in_features;
  int batch, tiles, blocks;
  int tiles_per_cta, blocks_per_cta, blocks_per_chunk;  // a chunk: the blocks whose x is in shared memory at a time
  int row_warps, depth_warps;
  int x_pitch, sum_pitch;  // halves between tokens of x, floats between tokens of sums
};

template <class Decoder>
struct SliceParams {
  SliceCommon common;
  typename Decoder::Weights weights;
};

template <class Decoder, int Tiles8, int Warps>
__global__ void __launch_bounds__(Warps * 32, 1) slice_kernel(const __grid_constant__ SliceParams<Decoder> params) {
  constexpr int kThreads = Warps * 32;
  extern __shared__ __align__(128) unsigned char shared[];
  const SliceCommon& c = params.common;
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
  const int r = lane >> 2, t = lane & 3;
  const int splits = static_cast<int>(gridDim.x), split = static_cast<int>(blockIdx.x);
  __half* x_shared = reinterpret_cast<__half*>(shared + Decoder::shared_bytes(params.weights));
  float* sums = reinterpret_cast<float*>(x_shared + Tiles8 * 8 * c.x_pitch);
  trigger_dependents();

  const int tile0 = static_cast<int>(blockIdx.y) * c.tiles_per_cta;
  const int tiles = c.tiles - tile0 < c.tiles_per_cta ? c.tiles - tile0 : c.tiles_per_cta;
  const int block_begin = split * c.blocks_per_cta;
  const int block_end = block_begin + c.blocks_per_cta < c.blocks ? block_begin + c.blocks_per_cta : c.blocks;
  const int depth = warp / c.row_warps, first_tile = depth < c.depth_warps ? warp % c.row_warps : tiles;

  Decoder decoder(params.weights, shared, lane);
  typename Decoder::Codes now[1], next;
  const auto fetch = [&](int tile, int block) {
    if (tile < tiles && block < block_end) decoder.fetch(next, tile0 + tile, block, c.tiles, c.blocks);
  };
  typename Decoder::template Setup<kThreads> setup;
  decoder.begin(setup);
  fetch(first_tile, block_begin + depth);
  decoder.finish(setup);
  // The epilogue's numbers: into L2 while there is time.
  if (const int64_t row = tile0 * int64_t{16} + threadIdx.x * int64_t{64};
      threadIdx.x * 64 < tiles * 16 && row < c.rows) {
    if (c.out.scales) asm volatile("prefetch.global.L2 [%0];" ::"l"(c.out.scales + row));
    if (c.out.bias) asm volatile("prefetch.global.L2 [%0];" ::"l"(c.out.bias + row));
  }
  wait_for_previous();

  for (int chunk = block_begin; chunk < block_end || chunk == block_begin; chunk += c.blocks_per_chunk) {
    const int chunk_end = chunk + c.blocks_per_chunk < block_end ? chunk + c.blocks_per_chunk : block_end;
    if (chunk > block_begin) __syncthreads();  // everyone is done with the last chunk's x
    const int octets = chunk_end > chunk ? (chunk_end - chunk) * (kBlockInputs<Decoder> / 8) : 0;
    stage_x(c, x_shared, c.x_pitch, int64_t{chunk} * kBlockInputs<Decoder>, octets, kThreads);
    __syncthreads();
    for (int tile = first_tile; tile < tiles; tile += c.row_warps) {
      float acc[1][Tiles8][4] = {};
      for (int block = chunk + depth; block < chunk_end; block += c.depth_warps) {
        now[0] = next;
        if (block + c.depth_warps < chunk_end)
          fetch(tile, block + c.depth_warps);
        else if (tile + c.row_warps < tiles)
          fetch(tile + c.row_warps, chunk + depth);
        else
          fetch(first_tile, chunk_end + depth);
        const __half* mine = x_shared + (block - chunk) * kBlockInputs<Decoder> + r * c.x_pitch;
        const auto x_octet = [&](int s, int part, int n) -> uint4 {
          return *reinterpret_cast<const uint4*>(mine + n * 8 * c.x_pitch +
                                                 (Decoder::octet(s, t) * Decoder::kParts + part) * 8);
        };
        decoder.template multiply<Tiles8, 1, 1>(now, x_octet, acc);
      }
#pragma unroll
      for (int n = 0; n < Tiles8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int token = n * 8 + 2 * t + i;
          if (token >= c.batch) continue;
          float2* cell = reinterpret_cast<float2*>(sums + (depth * c.batch + token) * c.sum_pitch + tile * 16 + 2 * r);
          float2 value = make_float2(acc[0][n][i], acc[0][n][i + 2]);
          if (chunk > block_begin) value.x += cell->x, value.y += cell->y;
          *cell = value;
        }
    }
  }

  // Each CTA of the cluster finishes its share of the rows; scale, bias and residual are fetched before the wait.
  const int share = (tiles * 16 + splits - 1) / splits, count = share * c.batch;
  for (int i = static_cast<int>(threadIdx.x), turn = 0; turn * kThreads < count; i += kThreads, ++turn) {
    const int token = i / share, local = split * share + i % share;
    const int64_t row = tile0 * int64_t{16} + local, at = token * c.rows + row;
    const bool mine = i < count && local < tiles * 16 && row < c.rows;
    const float scale = mine && c.out.scales ? __half2float(c.out.scales[row]) : 1.F;
    const float bias = mine && c.out.bias ? __half2float(c.out.bias[row]) : 0.F;
    const float residual = mine && c.out.residual ? __half2float(__ldcg(c.out.residual + at)) : 0.F;
    if (turn == 0) {
      if (splits > 1)
        cluster_sync();
      else
        __syncthreads();
    }
    if (!mine) continue;
    float sum = 0;
    for (int d = 0; d < c.depth_warps; ++d) {
      const float* from = sums + (d * c.batch + token) * c.sum_pitch + local;
      sum = splits > 1 ? cluster_sum(from, splits, sum) : sum + *from;
    }
    c.out.y[at] = __float2half_rn(fmaf(sum, scale, bias) + residual);
  }
  if (splits > 1) cluster_leave();  // nobody leaves while others read
}

/// Host side: picks cluster, grid and warps, and launches. `batch` must fit Tiles8 * 8 tokens.
template <class Decoder, int Tiles8, int Warps>
Status run_slices(SliceParams<Decoder> params, bool programmatic, cudaStream_t stream) noexcept {
  constexpr auto kKernel = slice_kernel<Decoder, Tiles8, Warps>;
  SliceCommon& c = params.common;
  c.tiles = static_cast<int>((c.rows + 15) / 16);
  c.blocks = static_cast<int>((c.in_features + kBlockInputs<Decoder> - 1) / kBlockInputs<Decoder>);
  const int64_t tables = Decoder::shared_bytes(params.weights);
  int64_t best = -1;
  int cluster = 0;
  SliceCommon chosen{};
  for (int size : {4, 8, 2, 1}) {
    if (size > 1 && size > c.blocks) continue;
    const int clusters = resident_clusters<kKernel>(size, Warps * 32, kSharedLimit);
    if (clusters == 0) continue;
    SliceCommon s = c;
    s.blocks_per_cta = (c.blocks + size - 1) / size;
    if (s.blocks_per_cta * (size - 1) >= c.blocks) continue;  // a CTA without inputs
    s.tiles_per_cta = (c.tiles + clusters - 1) / clusters;
    // Few tiles: several warps share them, each with its part of the slice.
    const auto shape_of = [&](int tiles) {
      s.depth_warps = 1;
      while (s.depth_warps * 2 * tiles <= Warps && s.depth_warps * 2 <= s.blocks_per_cta) s.depth_warps *= 2;
      s.row_warps = tiles < Warps / s.depth_warps ? tiles : Warps / s.depth_warps;
      s.sum_pitch = tiles * 16 + 4;  // 8-byte stores of half a warp meet all banks once
      return int64_t{s.depth_warps} * c.batch * s.sum_pitch * 4;
    };
    const int64_t least_x = int64_t{Tiles8} * 8 * (kBlockInputs<Decoder> + 32) * 2;
    while (s.tiles_per_cta > 1 && tables + shape_of(s.tiles_per_cta) + least_x > kSharedLimit)
      s.tiles_per_cta = (s.tiles_per_cta + 1) / 2;  // huge outputs: more than one wave
    const int64_t room = kSharedLimit - tables - shape_of(s.tiles_per_cta);
    if (room < least_x) continue;
    s.blocks_per_chunk = static_cast<int>((room / (int64_t{Tiles8} * 8 * 2) - 32) / kBlockInputs<Decoder>);
    if (s.blocks_per_chunk > s.blocks_per_cta) s.blocks_per_chunk = s.blocks_per_cta;
    s.x_pitch = s.blocks_per_chunk * kBlockInputs<Decoder> + 32;  // tokens of a phase fall into different banks
    // Clocks, roughly: the busiest multiprocessor's tiles, the busiest warp's chain, x on its way, the cluster's end.
    const int64_t waves = ((c.tiles + s.tiles_per_cta - 1) / s.tiles_per_cta + clusters - 1) / clusters;
    const int64_t pipe = int64_t{s.tiles_per_cta} * s.blocks_per_cta * Decoder::kTileClocks;
    const int64_t chain = int64_t{(s.tiles_per_cta + s.row_warps - 1) / s.row_warps} *
                          ((s.blocks_per_cta + s.depth_warps - 1) / s.depth_warps) * 700;
    const int64_t cost =
        waves * ((pipe > chain ? pipe : chain) + int64_t{s.blocks_per_cta} * kBlockInputs<Decoder> * c.batch * 2 / 32 +
                 (size > 1 ? 600 : 0));
    if (best >= 0 && cost >= best) continue;
    best = cost;
    cluster = size;
    chosen = s;
  }
  if (cluster == 0) return multiprocessors() == 0 ? Status::kNoDevice : Status::kUnsupportedShape;
  c = chosen;
  Launch how;
  how.grid =
      dim3(static_cast<unsigned>(cluster), static_cast<unsigned>((c.tiles + c.tiles_per_cta - 1) / c.tiles_per_cta));
  how.block = dim3(Warps * 32);
  how.shared_bytes = tables + int64_t{Tiles8} * 8 * c.x_pitch * 2 + int64_t{c.depth_warps} * c.batch * c.sum_pitch * 4;
  how.cluster = cluster;
  how.programmatic = programmatic;
  how.stream = stream;
  return launch<kKernel>(how, params);
}

}  // namespace aqlm_exp::kernels::mma
