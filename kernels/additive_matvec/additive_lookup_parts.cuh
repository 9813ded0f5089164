// What the two look-up kernels share (additive_lookup_cuda.cu says what they do): parameters, the work of a CTA, the
// making of tables, look-ups, and the end. Included by .cu files only.
#pragma once

#include <cuda_fp16.h>

#include "kernels/additive_matvec/additive_cuda.h"
#include "kernels/platform/cluster.cuh"

namespace aqlm_exp::additive_matvec::lookup {

using kernels::Status;

constexpr int kMaxWarps = 18;
constexpr int kBuilders = 16;           // warps that build tables; every launch has at least as many
constexpr int kTables = 2;              // resident at a time: 128 KiB
constexpr uint32_t kTableBase = 65536;  // shared address of the first table: byte 2 of each look-up address
constexpr int64_t kSharedBytes = (kTables + 1) * 65536 - 1024;  // below the tables: sums, less what the system takes
constexpr int kMaxRowsPerCta = (65536 - 2048) / 4;

struct Linear {
  const unsigned char* codes;
  const __half* codebooks;
  kernels::Epilogue out;
  int64_t rows;
  int first_block;  // row blocks (grid.y) below this belong to earlier linears
};
struct LookupParams {
  Linear linears[kMaxFusedLinears];
  int count;
  const __half* x;
  int64_t in_features;
  int batch, groups, books, entries, units, units_per_split, rows_per_cta;
};

constexpr int kDeepSums = 4096;  // of the deep kernel, whose inputs and codebooks lie behind them
template <int Half>
__host__ __device__ constexpr int deep_x_bytes(const LookupParams& p) {
  return ((2 * p.units_per_split + p.books - 1) / p.books + 1) * 32 * 16 * Half;
}

__device__ __forceinline__ void mma_1688(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(b));
}

/// Sum over the 32 lanes of N values a lane; lane l ends with the sum of value l mod N.
template <int W, int N>
__device__ __forceinline__ float transpose_sum(float (&a)[N]) {
  if constexpr (W == 0) {
    float v = a[0];
#pragma unroll
    for (int w = N; w < 32; w *= 2) v += __shfl_xor_sync(~0U, v, w);
    return v;
  } else {
    const bool upper = threadIdx.x & W;
#pragma unroll
    for (int i = 0; i < W; ++i) {
      const float mine = upper ? a[i + W] : a[i], other = upper ? a[i] : a[i + W];
      a[i] = mine + __shfl_xor_sync(~0U, other, W);
    }
    return transpose_sum<W / 2>(a);
  }
}

template <uint32_t Offset>
__device__ __forceinline__ float look_up(uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1+%2];" : "=f"(value) : "r"(address), "n"(Offset));
  return value;
}

/// The 16 look-ups of one 16-byte word (8 rows x 2 slots) in table Table.
template <int Table>
__device__ __forceinline__ void look_up_rows(const uint4& codes, uint32_t lane_part, float* sums) {
  const uint32_t w[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
  for (int k = 0; k < 4; ++k)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      sums[2 * k + h] += look_up<Table * 65536>(__byte_perm(w[k], lane_part, 0x7604 | ((2 * h) << 4)));
      sums[2 * k + h] += look_up<Table * 65536 + 128>(__byte_perm(w[k], lane_part, 0x7604 | ((2 * h + 1) << 4)));
    }
}

/// The rows and units of one CTA.
struct Work {
  const Linear& linear;
  int64_t row0, all_tiles, tile0;
  int tiles, unit_begin, unit_end;

  __device__ static const Linear& linear_of(const LookupParams& p) {
    int which = 0;
    while (which + 1 < p.count && static_cast<int>(blockIdx.y) >= p.linears[which + 1].first_block) ++which;
    return p.linears[which];
  }
  __device__ explicit Work(const LookupParams& p) : linear(linear_of(p)) {
    row0 = int64_t{static_cast<int>(blockIdx.y) - linear.first_block} * p.rows_per_cta;
    all_tiles = (linear.rows + 15) / 16;
    tile0 = row0 / 16;
    tiles = static_cast<int>(all_tiles - tile0 < p.rows_per_cta / 16 ? all_tiles - tile0 : p.rows_per_cta / 16);
    unit_begin = static_cast<int>(blockIdx.x) * p.units_per_split;
    unit_end = unit_begin + p.units_per_split < p.units ? unit_begin + p.units_per_split : p.units;
  }
  /// 16 rows' codes of one unit, of which each lane has 8 rows at +0 and 8 at +512.
  __device__ const unsigned char* codes(int unit, int tile, int lane) const {
    return linear.codes + (unit * all_tiles + tile0 + tile) * 1024 + lane * 16;
  }
  /// The epilogue's numbers: into L2 while there is time.
  __device__ void prefetch_epilogue() const {
    const int64_t row = row0 + threadIdx.x * int64_t{64};
    if (threadIdx.x * 64 >= tiles * 16 || row >= linear.rows) return;
    if (linear.out.scales) asm volatile("prefetch.global.L2 [%0];" ::"l"(linear.out.scales + row));
    if (linear.out.bias) asm volatile("prefetch.global.L2 [%0];" ::"l"(linear.out.bias + row));
  }
};

/// 16 Steps entries of one slot of a table, by tensor core: 16 entries x 8 groups a product. The four group blocks are
/// rotated by row, so that the 8-byte stores of half a warp cover all banks. `first`: where lane (r, q) begins.
template <int Half, int Steps>
__device__ __forceinline__ void build_entries(unsigned char* first, int r, const uint32_t (&words)[Steps][2 * Half],
                                              const uint32_t (&b)[4][Half]) {
#pragma unroll
  for (int k = 0; k < Steps; ++k) {
    float d[4][4] = {};
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      if constexpr (Half == 1)
        mma_1688(d[n], words[k][0], words[k][1], b[n][0]);
      else
        kernels::mma_16816(d[n], words[k][0], words[k][1], words[k][2], words[k][3], b[n][0], b[n][Half - 1]);
    }
    float u[4][4], v[4][4];
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) u[n][i] = (r & 1) ? d[(n + 1) & 3][i] : d[n][i];
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) v[n][i] = (r & 2) ? u[(n + 2) & 3][i] : u[n][i];
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      unsigned char* to = first + k * 16 * 256 + ((s + r) & 3) * 32;
      *reinterpret_cast<float2*>(to) = make_float2(v[s][0], v[s][1]);
      *reinterpret_cast<float2*>(to + 8 * 256) = make_float2(v[s][2], v[s][3]);
    }
  }
}

/// Each CTA of the cluster finishes its share of the rows; scale, bias and residual are fetched before the wait.
__device__ __forceinline__ void finish_rows(const Linear& linear, int64_t row0, int tiles, const float* partial,
                                            int token, bool last) {
  const int splits = static_cast<int>(gridDim.x), split = static_cast<int>(blockIdx.x), rows = tiles * 16;
  const int share = (rows + splits - 1) / splits;
  const int stop = (split + 1) * share < rows ? (split + 1) * share : rows;
  for (int i = split * share + static_cast<int>(threadIdx.x), turn = 0; turn * static_cast<int>(blockDim.x) < share;
       i += static_cast<int>(blockDim.x), ++turn) {
    const int64_t row = row0 + i, at = token * linear.rows + row;
    const bool mine = i < stop && row < linear.rows;
    const float scale = mine ? __half2float(linear.out.scales[row]) : 0.F;
    const float bias = mine && linear.out.bias ? __half2float(linear.out.bias[row]) : 0.F;
    const float residual = mine && linear.out.residual ? __half2float(__ldcg(linear.out.residual + at)) : 0.F;
    if (turn == 0) {
      if (splits > 1)
        kernels::cluster_sync();
      else
        __syncthreads();
    }
    if (!mine) continue;
    const float sum = splits > 1 ? kernels::cluster_sum(partial + i, splits, 0.F) : partial[i];
    linear.out.y[at] = __float2half_rn(fmaf(sum, scale, bias) + residual);
  }
  if (splits > 1)
    kernels::cluster_leave();  // nobody leaves, or overwrites sums, while others read
  else if (!last)
    __syncthreads();
}

}  // namespace aqlm_exp::additive_matvec::lookup
