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
#include <type_traits>

#include "kernels/additive_matvec/additive_lookup_parts.cuh"

namespace aqlm_exp::additive_matvec {
namespace {

using namespace lookup;

/// Few units a CTA: two tables are built, then all rows look up in both.
/// Books: number of codebooks where known (no divisions then), else 0.
template <int Half, int Books>
__global__ void __launch_bounds__(kMaxWarps * 32, 1) wide_kernel(const __grid_constant__ LookupParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  float* partial = reinterpret_cast<float*>(shared);
  const uint32_t window = kernels::shared_address(shared) & 0xFF000000U;  // CTAs of a cluster differ in the top byte
  unsigned char* tables = shared + (kTableBase + window - kernels::shared_address(shared));
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
  const int warps = static_cast<int>(blockDim.x) >> 5, r = lane >> 2, q = lane & 3;
  const int split = static_cast<int>(blockIdx.x);
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
      if (builds)
        build_entries<Half, 4>(tables + my_table * 65536 + (entry0 + r) * 256 + my_slot * 128 + q * 8, r, words, b);
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

    finish_rows(linear, int64_t{static_cast<int>(blockIdx.y) - linear.first_block} * p.rows_per_cta, tiles, partial,
                token, token + 1 == p.batch);
  }
}

constexpr int kDeepUnits = 3;  // with 2 the wide kernel is faster: 5.3 against 5.7 us (2x8, 4096x4096, H200)

/// Many units and few rows a CTA (4096x11008): while one table is looked up in, the next is built in the other, and the
/// sums of a warp's tiles stay in registers until the last unit. Inputs, and codebooks that do not stay in registers,
/// wait in shared memory: a load behind the stream of codes would arrive behind it.
template <int Half, int Books, int WarpTiles>
__global__ void __launch_bounds__((WarpTiles == 1 ? kMaxWarps : kBuilders) * 32, 1)
    deep_kernel(const __grid_constant__ LookupParams p) {
  extern __shared__ __align__(1024) unsigned char shared[];
  float* partial = reinterpret_cast<float*>(shared);
  const uint32_t window = kernels::shared_address(shared) & 0xFF000000U;
  unsigned char* tables = shared + (kTableBase + window - kernels::shared_address(shared));
  unsigned char* x_shared = shared + kDeepSums;
  unsigned char* books_shared = x_shared + deep_x_bytes<Half>(p);
  const int warp = static_cast<int>(threadIdx.x) >> 5, lane = static_cast<int>(threadIdx.x) & 31;
  const int warps = static_cast<int>(blockDim.x) >> 5, r = lane >> 2, q = lane & 3;
  const int books = Books ? Books : p.books;
  constexpr bool kBooksStay = Books == 1 || Books == 2;  // a slot has the same codebook in each unit
  kernels::trigger_dependents();
  const Work work(p);
  const int tiles = work.tiles, unit_begin = work.unit_begin, unit_end = work.unit_end;
  const uint32_t lane_part = window | kTableBase | static_cast<uint32_t>(lane) * 4;
  const int first_block = 2 * unit_begin / books;  // of 32 groups; x_shared begins there

  // Warp w of the first 16 makes 32 entries of one slot.
  const bool builds = warp < kBuilders;
  const int my_slot = (warp >> 3) & 1, entry0 = (warp & 7) * 32;
  uint32_t words[2][2 * Half];
  const auto load_words = [&](const void* from_books, int unit, auto load) {
    const auto* from = static_cast<const unsigned*>(from_books) + ((2 * unit + my_slot) % books) * p.entries * 4 * Half;
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int entry = entry0 + k * 16 + r + 8 * i;
#pragma unroll
        for (int h = 0; h < Half; ++h)
          words[k][2 * h + i] = builds && entry < p.entries ? load(from + entry * 4 * Half + 4 * h + q) : 0U;
      }
  };
  const auto build = [&](int unit, unsigned char* table) {
    if (!builds) return;
    if constexpr (!kBooksStay) load_words(books_shared, unit, [](const unsigned* at) { return *at; });
    uint32_t b[4][Half];
    const auto* from = reinterpret_cast<const unsigned*>(x_shared) +
                       (((2 * unit + my_slot) / books - first_block) * 32 + r) * 4 * Half + q;
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int h = 0; h < Half; ++h) b[n][h] = from[n * 8 * 4 * Half + 4 * h];
    build_entries<Half, 2>(table + (entry0 + r) * 256 + my_slot * 128 + q * 8, r, words, b);
  };

  constexpr int kAhead = WarpTiles == 1 ? 3 : 2;  // units whose codes are on their way
  uint4 codes[kAhead][WarpTiles][2];
  const auto fetch = [&](uint4(&to)[WarpTiles][2], int unit) {
#pragma unroll
    for (int k = 0; k < WarpTiles; ++k) {
      const int tile = warp + k * warps;
      if (unit >= unit_end || tile >= tiles) continue;
      const unsigned char* from = work.codes(unit, tile, lane);
#pragma unroll
      for (int b = 0; b < 2; ++b) to[k][b] = kernels::load_stream16(from + b * 512);
    }
  };

  if constexpr (kBooksStay) {
    load_words(work.linear.codebooks, 0, [](const unsigned* at) { return __ldg(at); });
  } else {
    for (int i = static_cast<int>(threadIdx.x); i < books * p.entries * Half; i += static_cast<int>(blockDim.x))
      reinterpret_cast<uint4*>(books_shared)[i] = kernels::load_table16(work.linear.codebooks + i * 8);
  }
  work.prefetch_epilogue();
  for (int token = 0; token < p.batch; ++token) {
    const __half* x = p.x + token * p.in_features;
    fetch(codes[0], unit_begin);
    if (token == 0) kernels::wait_for_previous();
    const int blocks = unit_end > unit_begin ? (2 * unit_end - 1) / books - first_block + 1 : 0;
    for (int i = static_cast<int>(threadIdx.x); i < blocks * 32 * Half; i += static_cast<int>(blockDim.x)) {
      const int at = first_block * 32 * Half + i;
      reinterpret_cast<uint4*>(x_shared)[i] =
          at < p.groups * Half ? kernels::load_fresh16(x + at * 8) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int a = 1; a < kAhead; ++a) fetch(codes[a], unit_begin + a);
    __syncthreads();
    float sums[WarpTiles][16] = {};
    if (unit_begin < unit_end) build(unit_begin, tables);
    __syncthreads();
    // Half of the warps look up first and half build first, so that products wait while others look up.
    const auto step = [&](int unit, auto phase) {
      constexpr int kPhase = decltype(phase)::value, kTable = kPhase & 1;
#pragma unroll 1
      for (int turn = 0; turn < 2; ++turn) {
        if (((turn ^ warp) & 1) != 0) {
          if (unit + 1 < unit_end) build(unit + 1, tables + (kTable ^ 1) * 65536);
        } else {
#pragma unroll
          for (int k = 0; k < WarpTiles; ++k) {
            if (warp + k * warps >= tiles) continue;
#pragma unroll
            for (int i = 0; i < 2; ++i) look_up_rows<kTable>(codes[kPhase % kAhead][k][i], lane_part, sums[k] + i * 8);
          }
          fetch(codes[kPhase % kAhead], unit + kAhead);
        }
      }
      __syncthreads();
    };
    constexpr int kRound = kAhead % 2 ? 2 * kAhead : kAhead;  // units after which tables and rings repeat
    for (int unit = unit_begin; unit < unit_end; unit += kRound) {
      step(unit, std::integral_constant<int, 0>{});
      if (unit + 1 < unit_end) step(unit + 1, std::integral_constant<int, 1>{});
      if constexpr (kRound > 2) {
        if (unit + 2 < unit_end) step(unit + 2, std::integral_constant<int, 2>{});
        if (unit + 3 < unit_end) step(unit + 3, std::integral_constant<int, 3>{});
        if (unit + 4 < unit_end) step(unit + 4, std::integral_constant<int, 4>{});
        if (unit + 5 < unit_end) step(unit + 5, std::integral_constant<int, 5>{});
      }
    }
#pragma unroll
    for (int k = 0; k < WarpTiles; ++k) {
      if (warp + k * warps >= tiles) continue;
      const float sum = transpose_sum<8>(sums[k]);
      if (lane < 16) partial[(warp + k * warps) * 16 + lane] = sum;
    }
    finish_rows(work.linear, work.row0, tiles, partial, token, token + 1 == p.batch);
  }
}

template <int Half, int Books>
Status run(int count, const AdditiveShape* shapes, const AdditiveCudaCall* calls) {
  if (!kernels::allow_shared<wide_kernel<Half, Books>>(kSharedBytes)) return Status::kNoDevice;
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
  while ((clusters = kernels::resident_clusters<wide_kernel<Half, Books>>(splits, kMaxWarps * 32, kSharedBytes)) == 0 &&
         splits > 1)
    splits /= 2;
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
  const int64_t deep_bytes = kDeepSums + deep_x_bytes<Half>(p) + p.books * p.entries * 16 * Half;
  if (p.units_per_split >= kDeepUnits && deep_bytes <= kMaxRowsPerCta * 4) {
    if (tiles_per_cta <= warps) return kernels::launch<deep_kernel<Half, Books, 1>>(how, p);
    if (tiles_per_cta <= 2 * kBuilders) return kernels::launch<deep_kernel<Half, Books, 2>>(how, p);
  }
  return kernels::launch<wide_kernel<Half, Books>>(how, p);
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
