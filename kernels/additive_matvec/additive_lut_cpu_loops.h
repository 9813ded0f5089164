// Look-up loops in plain C++ for the portable and AVX2 levels and, for entries of many tokens, AVX-512: each level's
// file includes this and compiles it with its own instructions. Everything is static, so that no level's code can stand
// in for another's at link time.
#pragma once

#include <cstring>

#include "kernels/additive_matvec/additive_lut_cpu_levels.h"

namespace aqlm_exp::additive_matvec::lut {
namespace {

/// table[e] = sum_d book[d][e] x[d]
[[maybe_unused]] void build_table(const float* __restrict book, const float* __restrict x, int64_t group_size,
                                  float* __restrict table) {
  for (int e = 0; e < 256; ++e) table[e] = book[e] * x[0];
  for (int64_t d = 1; d < group_size; ++d) {
    const float factor = x[d];
    const float* __restrict line = book + d * 256;
    for (int e = 0; e < 256; ++e) table[e] += line[e] * factor;
  }
}

[[maybe_unused]] void build_float(const Pass& p, int64_t block_begin, int64_t block_end) {
  const int64_t tables = p.group_block * p.codebooks;
  for (int64_t block = block_begin; block < block_end; ++block)
    for (int64_t t = 0; t < p.tokens; ++t) {
      float* out = static_cast<float*>(p.tables) + (block * p.tokens + t) * tables * 256;
      const int64_t first = block * p.group_block;
      const int64_t last = first + p.group_block < p.groups ? first + p.group_block : p.groups;
      for (int64_t j = first; j < last; ++j)
        for (int64_t m = 0; m < p.codebooks; ++m, out += 256)
          build_table(p.books_by_entry + m * p.group_size * 256, p.x + t * p.in_features + j * p.group_size,
                      p.group_size, out);
    }
}

/// Eight rows in flight; their sums stay in registers over all tables of a block.
[[maybe_unused]] void look_up_float(const Pass& p, int64_t row_begin, int64_t row_end, void* scratch) {
  const int64_t tables_full = p.group_block * p.codebooks;
  float* sums = static_cast<float*>(scratch);  // [token][kLutRowBlock]
  for (int64_t row0 = row_begin; row0 < row_end; row0 += kLutRowBlock) {
    int64_t block_rows = 0;
    const uint8_t* codes = block_codes(p, row0, &block_rows);
    std::memset(sums, 0, static_cast<size_t>(p.tokens * kLutRowBlock) * sizeof(float));
    for (int64_t block = 0; block < p.blocks; ++block) {
      const int64_t first = block * p.group_block;
      const int64_t tables = (first + p.group_block < p.groups ? p.group_block : p.groups - first) * p.codebooks;
      const uint8_t* strip = codes + first * p.codebooks * block_rows;
      for (int64_t t = 0; t < p.tokens; ++t) {
        const float* table0 = static_cast<const float*>(p.tables) + (block * p.tokens + t) * tables_full * 256;
        float* out = sums + t * kLutRowBlock;
        for (int64_t r = 0; r < block_rows; r += 8) {
          float a0 = 0, a1 = 0, a2 = 0, a3 = 0, a4 = 0, a5 = 0, a6 = 0, a7 = 0;
          const uint8_t* c = strip + r;
          const float* table = table0;
          // Sixteen short streams a strip confuse the hardware's prefetcher; the next strip follows this one in memory.
          if (t == 0)
            for (int64_t byte = 0; byte < tables * 8; byte += 64)
              __builtin_prefetch(strip + tables * block_rows + r * tables + byte);
          for (int64_t k = 0; k < tables; ++k, c += block_rows, table += 256) {
            uint64_t w;
            std::memcpy(&w, c, 8);
            // Byte i of memory is row r + i on little-endian machines; others are handled by the packer's order below.
            a0 += table[w & 255];
            a1 += table[(w >> 8) & 255];
            a2 += table[(w >> 16) & 255];
            a3 += table[(w >> 24) & 255];
            a4 += table[(w >> 32) & 255];
            a5 += table[(w >> 40) & 255];
            a6 += table[(w >> 48) & 255];
            a7 += table[w >> 56];
          }
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
          const float a[8] = {a7, a6, a5, a4, a3, a2, a1, a0};
#else
          const float a[8] = {a0, a1, a2, a3, a4, a5, a6, a7};
#endif
          for (int i = 0; i < 8; ++i) out[r + i] += a[i];
        }
      }
    }
    for (int64_t t = 0; t < p.tokens; ++t)
      for (int64_t r = 0; r < block_rows; ++r) finish(p, t, row0 + r, sums[t * kLutRowBlock + r]);
  }
}

/// Entries of W tokens: one look-up serves them all. Each thread builds the tables of a group and runs its rows over
/// it. Vectors are written as such (gcc's and clang's extension): plain inner loops of W came out scalar, 20 times
/// slower.
template <int W>
void look_up_vector(const Pass& p, int64_t row_begin, int64_t row_end, void* scratch) {
  typedef float Vector __attribute__((vector_size(W * sizeof(float)), may_alias));
  Vector* tables = static_cast<Vector*>(scratch);  // [codebook][256]
  Vector* sums = tables + p.codebooks * 256;       // [row_end - row_begin]
  std::memset(sums, 0, static_cast<size_t>(row_end - row_begin) * sizeof(Vector));
  const Vector* x_by_input = reinterpret_cast<const Vector*>(p.x_by_input);
  for (int64_t j = 0; j < p.groups; ++j) {
    const Vector* x = x_by_input + j * p.group_size;
    for (int64_t m = 0; m < p.codebooks; ++m)
      for (int64_t e = 0; e < 256; e += 4) {  // four sums in flight hide the latency of the multiply-add
        const float* word = p.books + (m * 256 + e) * p.group_size;
        Vector a = word[0] * x[0], b = word[p.group_size] * x[0];
        Vector c = word[2 * p.group_size] * x[0], d = word[3 * p.group_size] * x[0];
        for (int64_t i = 1; i < p.group_size; ++i) {
          a += word[i] * x[i];
          b += word[p.group_size + i] * x[i];
          c += word[2 * p.group_size + i] * x[i];
          d += word[3 * p.group_size + i] * x[i];
        }
        Vector* out = tables + m * 256 + e;
        out[0] = a, out[1] = b, out[2] = c, out[3] = d;
      }
    for (int64_t row0 = row_begin; row0 < row_end; row0 += kLutRowBlock) {
      int64_t block_rows = 0;
      const uint8_t* codes = block_codes(p, row0, &block_rows) + j * p.codebooks * block_rows;
      const uint8_t* ahead = codes + p.codebooks * block_rows;  // the next group's codes follow
      Vector* sum = sums + (row0 - row_begin);
      for (int64_t r = 0; r < block_rows; r += 2) {
        if ((r & 63) == 0)
          for (int64_t m = 0; m < p.codebooks; ++m) __builtin_prefetch(ahead + m * block_rows + r);
        Vector a = sum[r], b = sum[r + 1];
        const Vector* table = tables;
        const uint8_t* code = codes + r;
        for (int64_t m = 0; m < p.codebooks; ++m, table += 256, code += block_rows) {
          a += table[code[0]];
          b += table[code[1]];
        }
        sum[r] = a;
        sum[r + 1] = b;
      }
    }
  }
  for (int64_t row = row_begin; row < row_end; ++row)
    for (int64_t t = 0; t < p.tokens; ++t)
      finish(p, t, row, reinterpret_cast<const float*>(sums + (row - row_begin))[t]);
}

}  // namespace
}  // namespace aqlm_exp::additive_matvec::lut
