// Inside of the AVX-512 levels: int16 tables. The including file defines `struct Shuffle` (how a table of 256 int16 is
// stored, loaded and looked up) before it includes this.
//   T = tables of a pair handled in one sweep over a row strip; sums of 64 rows = two vectors of 32 int16.
#pragma once

#include <immintrin.h>

#include "kernels/additive_matvec/additive_lut_cpu_loops.h"

namespace aqlm_exp::additive_matvec::lut {
namespace {

/// For each of G consecutive groups of x: out[e] = sum_d book[d][e] x[d], `stride` floats apart. Four vectors of the
/// book serve all groups: books and tables exceed a small L1 (2048 tables of 4x8 on one Zen 4 core: 183 us, so 112).
/// Returns the largest |entry| so far as its bits, which order like the numbers, infinity and then NaN above them all.
template <int G>
inline __m512i build_tables(const float* book, const float* x, int64_t group_size, float* out, int64_t stride,
                            __m512i largest) {
  for (int e = 0; e < 256; e += 64) {
    __m512 acc[G][4];
    for (int g = 0; g < G; ++g)
      for (int i = 0; i < 4; ++i) acc[g][i] = _mm512_setzero_ps();
    for (int64_t d = 0; d < group_size; ++d) {
      __m512 line[4];
      for (int i = 0; i < 4; ++i) line[i] = _mm512_load_ps(book + d * 256 + e + i * 16);
      for (int g = 0; g < G; ++g) {
        const __m512 factor = _mm512_set1_ps(x[g * group_size + d]);
        for (int i = 0; i < 4; ++i) acc[g][i] = _mm512_fmadd_ps(line[i], factor, acc[g][i]);
      }
    }
    for (int g = 0; g < G; ++g)
      for (int i = 0; i < 4; ++i) {
        const __m512i bits = _mm512_castps_si512(acc[g][i]);
        largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
        _mm512_store_ps(out + g * stride + e + i * 16, acc[g][i]);
      }
  }
  return largest;
}

void build_int16(const Pass& p, int64_t block_begin, int64_t block_end) {
  alignas(64) float scratch[kLutMaxCodebooks * 256];
  const int64_t tables = p.group_block * p.codebooks;
  const float limit = static_cast<float>(32767 / tables);
  for (int64_t block = block_begin; block < block_end; ++block)
    for (int64_t t = 0; t < p.tokens; ++t) {
      const int64_t first = block * p.group_block;
      const int64_t last = first + p.group_block < p.groups ? first + p.group_block : p.groups;
      __m512i largest = _mm512_setzero_si512();
      for (int64_t m = 0; m < p.codebooks; ++m) {
        const float* book = p.books_by_entry + m * p.group_size * 256;
        const float* x = p.x + t * p.in_features + first * p.group_size;
        float* out = scratch + m * 256;
        int64_t left = last - first;
        for (; left >= 4; left -= 4, x += 4 * p.group_size, out += 4 * p.codebooks * 256)
          largest = build_tables<4>(book, x, p.group_size, out, p.codebooks * 256, largest);
        for (; left > 0; --left, x += p.group_size, out += p.codebooks * 256)
          largest = build_tables<1>(book, x, p.group_size, out, p.codebooks * 256, largest);
      }
      const float top =
          _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(static_cast<int>(_mm512_reduce_max_epu32(largest)))));
      float scale = top / limit, inverse = limit / top;
      if (!(top <= 3.0e38F)) {  // no finite scale: the block, and with it the token, becomes NaN
        scale = __builtin_nanf("");
        inverse = 0;
      } else if (top < 1.0e-34F) {  // limit / top could overflow; such entries are zero beside any other
        scale = inverse = 0;
      }
      p.table_scales[(block - p.first_block) * p.tokens + t] = scale;
      const __m512 factor = _mm512_set1_ps(inverse);
      const __mmask16 live = inverse == 0 ? __mmask16{0} : __mmask16{0xFFFF};
      unsigned char* table =
          static_cast<unsigned char*>(p.tables) + ((block - p.first_block) * p.tokens + t) * tables * 512;
      const int64_t used = (last - first) * p.codebooks;
      for (int64_t k = 0; k < used; ++k, table += 512)
        for (int i = 0; i < 4; ++i) {
          __m512i values[4];
          for (int v = 0; v < 4; ++v)
            values[v] = _mm512_maskz_cvtps_epi32(
                live, _mm512_mul_ps(_mm512_load_ps(scratch + k * 256 + i * 64 + v * 16), factor));
          Shuffle::store(table, i, _mm512_packs_epi32(values[0], values[1]), _mm512_packs_epi32(values[2], values[3]));
        }
    }
}

// Two streams of codes half a KiB apart, each ending where the next begins, defeat the hardware's prefetchers: without
// these, codes that come from DRAM cost 285 us where the look-ups take 120 (2048 rows, 2x8, Zen 4). Far ahead into L2,
// so that many lines travel at once; near ahead into L1. In tables, which are half a KiB of codes each.
constexpr int64_t kFarTables = 16, kNearTables = 4;

/// Adds the entries of T tables to the sums of a strip's rows. Codes of a strip are fetched ahead by its first token.
template <int T, bool First, bool Ahead>
inline void sweep(const unsigned char* table, const Strip& strip, int64_t first, int16_t* sums) {
  Shuffle::Table loaded[T];
  for (int k = 0; k < T; ++k) loaded[k] = Shuffle::load(table + (first + k) * 512);
  const uint8_t* codes = strip.codes + first * strip.stride;
  for (int64_t r = 0; r < strip.rows; r += 64) {
    __m512i low = First ? _mm512_setzero_si512() : _mm512_load_si512(sums + r);
    __m512i high = First ? _mm512_setzero_si512() : _mm512_load_si512(sums + r + 32);
    if constexpr (Ahead)
      for (int k = 0; k < T; ++k) {
        const uint8_t* here = codes + k * strip.stride + r;
        _mm_prefetch(reinterpret_cast<const char*>(here + kFarTables * strip.stride), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(here + kNearTables * strip.stride), _MM_HINT_T0);
      }
    for (int k = 0; k < T; ++k) Shuffle::add(loaded[k], _mm512_loadu_si512(codes + k * strip.stride + r), &low, &high);
    _mm512_store_si512(sums + r, low);
    _mm512_store_si512(sums + r + 32, high);
  }
}

template <bool Ahead>
inline void sum_tables(const unsigned char* table, const Strip& strip, int64_t tables, int16_t* sums) {
  int64_t k = tables >= 2 ? 2 : 1;
  if (tables >= 2)
    sweep<2, true, Ahead>(table, strip, 0, sums);
  else
    sweep<1, true, Ahead>(table, strip, 0, sums);
  for (; k + 2 <= tables; k += 2) sweep<2, false, Ahead>(table, strip, k, sums);
  if (k < tables) sweep<1, false, Ahead>(table, strip, k, sums);
}

inline void widen(const int16_t* sums, float scale, int64_t rows, float* total) {
  const __m512 factor = _mm512_set1_ps(scale);
  for (int64_t r = 0; r < rows; r += 16) {
    const __m512i wide = _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(sums + r)));
    _mm512_store_ps(total + r, _mm512_fmadd_ps(_mm512_cvtepi32_ps(wide), factor, _mm512_load_ps(total + r)));
  }
}

void look_up_int16(const Pass& shared, int64_t row_begin, int64_t row_end, void* scratch) {
  alignas(64) int16_t sums[kLutRowBlock];
  Pass p = pass_of_thread(shared, scratch, sizeof(int16_t));
  float* totals = static_cast<float*>(scratch);  // [token][chunk_rows], rows in Shuffle's order
  const int64_t tables_full = p.group_block * p.codebooks;
  for (int64_t chunk = row_begin; chunk < row_end; chunk += p.chunk_rows) {
    const int64_t chunk_end = chunk + p.chunk_rows < row_end ? chunk + p.chunk_rows : row_end;
    std::memset(totals, 0, static_cast<size_t>(p.tokens * p.chunk_rows) * sizeof(float));
    for (int64_t block = 0; block < p.blocks; ++block) {
      const int64_t count = begin_block(p, block), first = block * tables_full;
      for (int64_t t = 0; t < p.tokens; ++t) {
        const unsigned char* table =
            static_cast<const unsigned char*>(p.tables) + ((block - p.first_block) * p.tokens + t) * tables_full * 512;
        Strip strip{};
        for (int64_t row = chunk; row < chunk_end; row += strip.rows) {
          strip = strip_at(p, row, chunk_end, first);
          t == 0 ? sum_tables<true>(table, strip, count, sums) : sum_tables<false>(table, strip, count, sums);
          widen(sums, p.table_scales[(block - p.first_block) * p.tokens + t], strip.rows,
                totals + t * p.chunk_rows + (row - chunk));
        }
      }
    }
    for (int64_t t = 0; t < p.tokens; ++t)
      for (int64_t r = 0; r < chunk_end - chunk; ++r)
        finish(p, t, chunk + r / 64 * 64 + Shuffle::row_of(static_cast<int>(r % 64)), totals[t * p.chunk_rows + r]);
  }
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec::lut
