// Design A of design/performance.md section 1.5: Kx8 at batch 1-2 by look-up tables that are private to a bank.
//
// In a warp lane l owns input group l of a block of 32 groups. The dot products of its group with all 256 codewords
// stand at T[entry][slot 0..1][lane] in fp32: the bank is the lane, so 32 look-ups a clock never conflict (31.3
// measured on an H200, gate.md section 4). An entry row is 256 bytes, so one byte permute puts the code into byte 1 of
// the address. A "unit" is one such table pair of 64 KiB; slot q = 2 unit + slot runs over (block of 32 groups) x
// (codebook), which covers every number of codebooks with one layout.
//
// A cluster of up to eight CTAs shares the K axis of a block of rows; its partial sums meet in distributed shared
// memory. Versions (H200, 14336x4096, 2x8, graph + PDL, share of the faster cuBLAS; gate.md section 6):
//   partial sums combined by a second kernel 3.6x; by the last CTA to arrive 3.3x; in the cluster 3.6x, one launch:
//   this.
#include <cuda_fp16.h>

#include "kernels/additive_matvec/additive_cuda.h"
#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::additive_matvec {
namespace {

using kernels::Status;

constexpr int kMaxWarps = 18;
constexpr int kBuilders = 16;           // warps that build tables; every launch has at least as many
constexpr int kTables = 2;              // units resident at a time: 128 KiB of tables
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

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}
/// A barrier that orders nothing: what was read from other CTAs is in registers, and the stores of y need not have
/// arrived.
__device__ __forceinline__ void cluster_leave() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}
__device__ __forceinline__ float load_cluster(uint32_t local, uint32_t rank) {
  uint32_t remote;
  float value;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(remote) : "memory");
  return value;
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

/// Books: number of codebooks where known (no divisions then), else 0.
template <int Half, int Books>
__global__ void __launch_bounds__(kMaxWarps * 32, 1) lookup_kernel(const __grid_constant__ LookupParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  float* partial = reinterpret_cast<float*>(shared);
  const uint32_t window = kernels::shared_address(shared) & 0xFF000000U;  // CTAs of a cluster differ in the top byte
  unsigned char* tables = shared + (kTableBase + window - kernels::shared_address(shared));
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
  const int warps = static_cast<int>(blockDim.x) >> 5, r = lane >> 2, q = lane & 3;
  const int splits = static_cast<int>(gridDim.x), split = static_cast<int>(blockIdx.x);
  const int books = Books ? Books : p.books;
  kernels::trigger_dependents();

  int which = 0;
  while (which + 1 < p.count && static_cast<int>(blockIdx.y) >= p.linears[which + 1].first_block) ++which;
  const Linear& linear = p.linears[which];
  const int64_t row0 = int64_t{static_cast<int>(blockIdx.y) - linear.first_block} * p.rows_per_cta;
  const int64_t all_tiles = (linear.rows + 15) / 16, tile0 = row0 / 16;
  const int tiles = static_cast<int>(all_tiles - tile0 < p.rows_per_cta / 16 ? all_tiles - tile0 : p.rows_per_cta / 16);
  const int unit_begin = split * p.units_per_split;
  const int unit_end = unit_begin + p.units_per_split < p.units ? unit_begin + p.units_per_split : p.units;
  const uint32_t lane_part = window | kTableBase | static_cast<uint32_t>(lane) * 4;

  uint4 ring[2][kTables * 2];

  // The first 16 warps build the tables: warp w makes 64 entries of one slot, so its part of x is one fragment for all.
  const bool builds = warp < kBuilders;
  const int my_table = warp >> 3, my_slot = (warp >> 2) & 1, entry0 = (warp & 3) * 64;
  uint32_t words[4][2 * Half];
  auto load_books = [&](int unit0) {
    const int slot = 2 * (unit0 + my_table) + my_slot, book = slot % books;
    const bool there = builds && unit0 + my_table < unit_end;
    const __half* from = linear.codebooks + int64_t{book} * p.entries * (8 * Half);
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int entry = entry0 + k * 16 + r + 8 * i;
#pragma unroll
        for (int h = 0; h < Half; ++h)
          words[k][2 * h + i] = there && entry < p.entries
                                    ? __ldg(reinterpret_cast<const unsigned*>(from + entry * (8 * Half) + 8 * h) + q)
                                    : 0U;
      }
  };
  auto fetch = [&](uint4(&codes)[kTables * 2], int unit0, int tile) {
    if (tile >= tiles) return;
#pragma unroll
    for (int t = 0; t < kTables; ++t) {
      if (unit0 + t >= unit_end) break;
      const unsigned char* from = linear.codes + ((unit0 + t) * all_tiles + tile0 + tile) * 1024 + lane * 16;
#pragma unroll
      for (int b = 0; b < 2; ++b) codes[t * 2 + b] = kernels::load_stream16(from + b * 512);
    }
  };

  // The epilogue's numbers: into L2 while there is time.
  if (const int64_t row = row0 + threadIdx.x * int64_t{64}; threadIdx.x * 64 < tiles * 16 && row < linear.rows) {
    if (linear.out.scales) asm volatile("prefetch.global.L2 [%0];" ::"l"(linear.out.scales + row));
    if (linear.out.bias) asm volatile("prefetch.global.L2 [%0];" ::"l"(linear.out.bias + row));
  }
  for (int token = 0; token < p.batch; ++token) {
    const __half* x = p.x + token * p.in_features;
    for (int unit0 = unit_begin; unit0 < unit_end; unit0 += kTables) {
      // Order of the loads: codewords, one tile of codes, then x. Behind a full queue of codes the few bytes of x would
      // arrive last, and the tables would wait for the whole stream (gate.md section 6: 8.76 against 7.58 us).
      load_books(unit0);
      fetch(ring[0], unit0, warp);
      if (token == 0 && unit0 == unit_begin) kernels::wait_for_previous();
      uint32_t b[4][Half];
      const int group0 = (2 * (unit0 + my_table) + my_slot) / books * 32;
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const int group = group0 + n * 8 + r;
#pragma unroll
        for (int h = 0; h < Half; ++h)
          b[n][h] = builds && group < p.groups ? kernels::load_fresh4(x + group * (8 * Half) + 8 * h + 2 * q) : 0U;
      }
      fetch(ring[1], unit0, warp + warps);
      if (unit0 != unit_begin || token != 0) __syncthreads();  // the last look-ups in the old tables are done
      // Tables by tensor core: 16 entries x 8 groups a product. The four group blocks are rotated by row, so that the
      // 8-byte stores of half a warp cover all banks.
      if (builds) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
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
          unsigned char* line = tables + my_table * 65536 + (entry0 + k * 16 + r) * 256 + my_slot * 128 + q * 8;
#pragma unroll
          for (int s = 0; s < 4; ++s) {
            unsigned char* to = line + ((s + r) & 3) * 32;
            *reinterpret_cast<float2*>(to) = make_float2(v[s][0], v[s][1]);
            *reinterpret_cast<float2*>(to + 8 * 256) = make_float2(v[s][2], v[s][3]);
          }
        }
      }
      __syncthreads();

      const bool two = unit0 + 1 < unit_end;
      for (int base = warp; base < tiles; base += 2 * warps) {
#pragma unroll
        for (int d = 0; d < 2; ++d) {
          const int tile = base + d * warps;
          if (tile >= tiles) break;
          float sums[16] = {};
#pragma unroll
          for (int i = 0; i < 2; ++i) look_up_rows<0>(ring[d][i], lane_part, sums + i * 8);
          if (two) {
#pragma unroll
            for (int i = 0; i < 2; ++i) look_up_rows<1>(ring[d][2 + i], lane_part, sums + i * 8);
          }
          fetch(ring[d], unit0, tile + 2 * warps);
          const float sum = transpose_sum<8>(sums);
          if (lane < 16) {
            float& cell = partial[tile * 16 + lane];  // a tile stays with its warp from pass to pass
            cell = unit0 == unit_begin ? sum : cell + sum;
          }
        }
      }
    }
    if (unit_begin >= unit_end) {  // more CTAs in the cluster than units: nothing to add
      if (token == 0) kernels::wait_for_previous();
      for (int i = static_cast<int>(threadIdx.x); i < tiles * 16; i += static_cast<int>(blockDim.x)) partial[i] = 0;
    }

    // Each CTA of the cluster finishes its share of the rows; scale, bias and residual are fetched before the wait.
    const int share = (tiles * 16 + splits - 1) / splits;
    const int stop = (split + 1) * share < tiles * 16 ? (split + 1) * share : tiles * 16;
    for (int i = split * share + static_cast<int>(threadIdx.x), turn = 0; turn * static_cast<int>(blockDim.x) < share;
         i += static_cast<int>(blockDim.x), ++turn) {
      const int64_t row = row0 + i, at = token * linear.rows + row;
      const bool mine = i < stop && row < linear.rows;
      const float scale = mine ? __half2float(linear.out.scales[row]) : 0.F;
      const float bias = mine && linear.out.bias ? __half2float(linear.out.bias[row]) : 0.F;
      const float residual = mine && linear.out.residual ? __half2float(__ldcg(linear.out.residual + at)) : 0.F;
      if (turn == 0) {
        if (splits > 1)
          cluster_sync();
        else
          __syncthreads();
      }
      if (!mine) continue;
      float sum = 0;
      if (splits > 1) {
        // All loads first: an addition behind each would wait 200 clocks eight times.
        const uint32_t local = kernels::shared_address(partial + i);
        float parts[8];
#pragma unroll
        for (int k = 0; k < 8; ++k) parts[k] = k < splits ? load_cluster(local, static_cast<uint32_t>(k)) : 0.F;
#pragma unroll
        for (int k = 0; k < 8; ++k) sum += parts[k];
      } else {
        sum = partial[i];
      }
      linear.out.y[at] = __float2half_rn(fmaf(sum, scale, bias) + residual);
    }
    if (splits > 1)
      cluster_leave();  // nobody leaves, or overwrites sums, while others read
    else if (token + 1 < p.batch)
      __syncthreads();
  }
}

/// Clusters of `size` CTAs that run at the same time; asked once per device and size.
template <int Half, int Books>
int resident_clusters(int size) {
  static std::atomic<int> known[64][4];
  const int device = kernels::current_device();
  const int slot = size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0;
  if (device < 0) return 0;
  int count = known[device][slot].load(std::memory_order_relaxed);
  if (count > 0) return count;
  if (size == 1) {
    count = kernels::multiprocessors();
  } else {
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(size), 1);
    config.blockDim = dim3(kMaxWarps * 32);
    config.dynamicSmemBytes = kSharedBytes;
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(size);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
    if (cudaOccupancyMaxActiveClusters(&count, lookup_kernel<Half, Books>, &config) != cudaSuccess) {
      cudaGetLastError();
      return 0;
    }
  }
  known[device][slot].store(count, std::memory_order_relaxed);
  return count;
}

template <int Half, int Books>
Status run(int count, const AdditiveShape* shapes, const AdditiveCudaCall* calls) {
  if (!kernels::allow_shared<lookup_kernel<Half, Books>>(kSharedBytes)) return Status::kNoDevice;
  const AdditiveShape& shape = shapes[0];
  LookupParams p{};
  p.count = count;
  p.x = static_cast<const __half*>(calls[0].x);
  p.in_features = shape.in_features;
  p.batch = static_cast<int>(calls[0].batch);
  p.groups = static_cast<int>(shape.num_in_groups());
  p.books = shape.num_codebooks;
  p.entries = static_cast<int>(shape.codebook_size());
  p.units = ((p.groups + 31) / 32 * p.books + 1) / 2;
  int splits = 1;
  while (splits < 8 && splits * kTables < p.units) splits *= 2;
  int clusters = 0;
  while ((clusters = resident_clusters<Half, Books>(splits)) == 0 && splits > 1) splits /= 2;
  if (clusters == 0) return Status::kNoDevice;
  p.units_per_split = (p.units + splits - 1) / splits;
  // The fewest rows per CTA with which all row blocks run at once.
  int64_t tiles = 0;
  for (int i = 0; i < count; ++i) tiles += (shapes[i].out_features + 15) / 16;
  int64_t tiles_per_cta = (tiles + clusters - 1) / clusters;
  int blocks = 0;
  for (;; ++tiles_per_cta) {
    blocks = 0;
    for (int i = 0; i < count; ++i)
      blocks += static_cast<int>(((shapes[i].out_features + 15) / 16 + tiles_per_cta - 1) / tiles_per_cta);
    if (blocks <= clusters || blocks == count) break;
  }
  if (tiles_per_cta * 16 > kMaxRowsPerCta) tiles_per_cta = kMaxRowsPerCta / 16;  // huge outputs: more than one wave
  p.rows_per_cta = static_cast<int>(tiles_per_cta * 16);
  blocks = 0;
  for (int i = 0; i < count; ++i) {
    Linear& l = p.linears[i];
    l.codes = static_cast<const unsigned char*>(calls[i].codes);
    l.codebooks = static_cast<const __half*>(calls[i].codebooks);
    l.out = {static_cast<const __half*>(calls[i].scales), static_cast<const __half*>(calls[i].bias),
             static_cast<const __half*>(calls[i].residual), static_cast<__half*>(calls[i].y)};
    l.rows = shapes[i].out_features;
    l.first_block = blocks;
    blocks += static_cast<int>(((shapes[i].out_features + 15) / 16 + tiles_per_cta - 1) / tiles_per_cta);
  }
  // One tile a warp where that fits. Else the fewest warps: more of them gained nothing (9.03 against 9.46 us with 20).
  const int warps =
      tiles_per_cta > kBuilders && tiles_per_cta <= kMaxWarps ? static_cast<int>(tiles_per_cta) : kBuilders;
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>(splits), static_cast<unsigned>(blocks));
  how.block = dim3(static_cast<unsigned>(warps) * 32);
  how.shared_bytes = kSharedBytes;
  how.cluster = splits;
  how.programmatic = calls[0].programmatic;
  how.stream = static_cast<cudaStream_t>(calls[0].stream);
  return kernels::launch<lookup_kernel<Half, Books>>(how, p);
}

}  // namespace

Status additive_lookup_cuda_supports(const AdditiveShape& shape, int64_t batch) noexcept {
  const bool ok = shape.valid() && shape.nbits_per_codebook <= 8 && shape.out_group_size == 1 &&
                  shape.scale_groups == 1 && (shape.in_group_size == 8 || shape.in_group_size == 16) &&
                  shape.num_codebooks <= 16 && batch >= 1 && batch <= 2;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

Status additive_lookup_cuda_f16_fused(int count, const AdditiveShape* shapes, const AdditiveCudaCall* calls) noexcept {
  if (count < 1 || count > kMaxFusedLinears) return Status::kUnsupportedShape;
  for (int i = 0; i < count; ++i) {
    if (additive_lookup_cuda_supports(shapes[i], calls[i].batch) != Status::kOk) return Status::kUnsupportedShape;
    const AdditiveShape &a = shapes[i], &b = shapes[0];
    if (a.in_features != b.in_features || a.num_codebooks != b.num_codebooks ||
        a.nbits_per_codebook != b.nbits_per_codebook || a.in_group_size != b.in_group_size ||
        calls[i].x != calls[0].x || calls[i].batch != calls[0].batch || calls[i].stream != calls[0].stream)
      return Status::kUnsupportedShape;
  }
  if (shapes[0].in_group_size == 16) return run<2, 0>(count, shapes, calls);
  switch (shapes[0].num_codebooks) {
    case 1:
      return run<1, 1>(count, shapes, calls);
    case 2:
      return run<1, 2>(count, shapes, calls);
    case 4:
      return run<1, 4>(count, shapes, calls);
    default:
      return run<1, 0>(count, shapes, calls);
  }
}

Status additive_lookup_cuda_f16(const AdditiveShape& shape, const AdditiveCudaCall& call) noexcept {
  return additive_lookup_cuda_f16_fused(1, &shape, &call);
}

}  // namespace aqlm_exp::additive_matvec
