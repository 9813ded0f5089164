// Look-up loops in plain C++ for the portable and AVX2 levels and, for entries of many tokens, AVX-512: each level's
// file includes this and compiles it with its own instructions. Everything is static, so that no level's code can stand
// in for another's at link time.
#pragma once

#include <cstring>
#include <utility>

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
      float* out = static_cast<float*>(p.tables) + ((block - p.first_block) * p.tokens + t) * tables * 256;
      const int64_t first = block * p.group_block;
      const int64_t last = first + p.group_block < p.groups ? first + p.group_block : p.groups;
      for (int64_t j = first; j < last; ++j)
        for (int64_t m = 0; m < p.codebooks; ++m, out += 256)
          build_table(p.books_by_entry + m * p.group_size * 256, p.x + t * p.in_features + j * p.group_size,
                      p.group_size, out);
    }
}

/// Adds the entries of eight rows' codes, the bytes of `word` from the lowest on, to sums[0..7]. On x86-64 two codes
/// cost two moves (of the word's low and second byte), a shift and two additions from memory: 2.5 micro-operations a
/// look-up, which bound it. The compiler makes 3.5 of them, and spills where the loop over tables is unrolled.
template <int Offset>  // of the table, in entries
[[maybe_unused]] inline void add_eight(uint64_t word, const float* table, float (&sums)[8]) {
#if defined(__GNUC__) && defined(__x86_64__)
  uint64_t even, odd;  // Q: the second byte can be moved to and from the old registers only
  asm("movzbl %b[word], %k[even]\n\t"
      "movzbl %h[word], %k[odd]\n\t"
      "shrq $16, %[word]\n\t"
      "addss %c[offset](%[table],%[even],4), %[s0]\n\t"
      "addss %c[offset](%[table],%[odd],4), %[s1]\n\t"
      "movzbl %b[word], %k[even]\n\t"
      "movzbl %h[word], %k[odd]\n\t"
      "shrq $16, %[word]\n\t"
      "addss %c[offset](%[table],%[even],4), %[s2]\n\t"
      "addss %c[offset](%[table],%[odd],4), %[s3]\n\t"
      "movzbl %b[word], %k[even]\n\t"
      "movzbl %h[word], %k[odd]\n\t"
      "shrl $16, %k[word]\n\t"
      "addss %c[offset](%[table],%[even],4), %[s4]\n\t"
      "addss %c[offset](%[table],%[odd],4), %[s5]\n\t"
      "movzbl %b[word], %k[even]\n\t"
      "movzbl %h[word], %k[odd]\n\t"
      "addss %c[offset](%[table],%[even],4), %[s6]\n\t"
      "addss %c[offset](%[table],%[odd],4), %[s7]"
      : [word] "+Q"(word), [even] "=&r"(even), [odd] "=&Q"(odd), [s0] "+x"(sums[0]), [s1] "+x"(sums[1]),
        [s2] "+x"(sums[2]), [s3] "+x"(sums[3]), [s4] "+x"(sums[4]), [s5] "+x"(sums[5]), [s6] "+x"(sums[6]),
        [s7] "+x"(sums[7])
      : [table] "r"(table), [offset] "i"(Offset * 4), "m"(*reinterpret_cast<const float(*)[256]>(table + Offset))
      : "cc");
#else
  for (int i = 0; i < 8; ++i) sums[i] += table[Offset + ((word >> (8 * i)) & 255)];
#endif
}

/// Which of eight rows, in the order of memory, sums[i] of add_eight is.
[[maybe_unused]] constexpr int row_of_sum(int i) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  return 7 - i;
#else
  return i;
#endif
}

[[maybe_unused]] inline uint64_t eight_codes(const uint8_t* codes) {
  uint64_t word;
  std::memcpy(&word, codes, 8);
  return word;
}

/// Adds the entries of a strip's codes to its rows' sums, eight rows in flight; their sums stay in registers over all
/// tables. With Tables and Stride as constants every address is a displacement; 0: from the arguments. `next` is the
/// strip that follows: sixteen short streams confuse the hardware's prefetcher, so its codes are fetched meanwhile.
template <int Stride, int... Tables>
[[maybe_unused]] void add_strip(std::integer_sequence<int, Tables...>, const float* tables, const Strip& strip,
                                const Strip& next, int64_t num_tables, float* out) {
  const int64_t stride = Stride ? Stride : strip.stride;
  const int64_t count = sizeof...(Tables) > 0 ? static_cast<int64_t>(sizeof...(Tables)) : num_tables;
  for (int64_t r = 0; r < strip.rows; r += 8) {
    if (next.rows == next.stride)  // whole tables follow each other: in their order, which is 5% faster
      for (int64_t byte = 0; byte < count * 8; byte += 64) __builtin_prefetch(next.codes + r * count + byte);
    else
      for (int64_t k = (r >> 3) & 7; k < count; k += 8)
        __builtin_prefetch(next.codes + k * next.stride + (r & ~int64_t{63}));
    float sums[8] = {};
    if constexpr (sizeof...(Tables) > 0)
      (add_eight<Tables * 256>(eight_codes(strip.codes + Tables * stride + r), tables, sums), ...);
    else
      for (int64_t k = 0; k < count; ++k)
        add_eight<0>(eight_codes(strip.codes + k * stride + r), tables + k * 256, sums);
    for (int i = 0; i < 8; ++i) out[r + row_of_sum(i)] += sums[i];
  }
}

[[maybe_unused]] void look_up_float(const Pass& shared, int64_t row_begin, int64_t row_end, void* scratch) {
  Pass p = pass_of_thread(shared, scratch, sizeof(float));
  const int64_t tables_full = p.group_block * p.codebooks;
  float* sums = static_cast<float*>(scratch);  // [token][chunk_rows]
  for (int64_t chunk = row_begin; chunk < row_end; chunk += p.chunk_rows) {
    const int64_t chunk_end = chunk + p.chunk_rows < row_end ? chunk + p.chunk_rows : row_end;
    std::memset(sums, 0, static_cast<size_t>(p.tokens * p.chunk_rows) * sizeof(float));
    for (int64_t block = 0; block < p.blocks; ++block) {
      const int64_t count = begin_block(p, block), first = block * tables_full;
      for (int64_t t = 0; t < p.tokens; ++t) {
        const float* tables =
            static_cast<const float*>(p.tables) + ((block - p.first_block) * p.tokens + t) * tables_full * 256;
        Strip strip = strip_at(p, chunk, chunk_end, first);
        for (int64_t row = chunk; row < chunk_end;) {
          const int64_t after = row + strip.rows;
          const bool last = after >= chunk_end;
          const int64_t next_table = last && t + 1 == p.tokens ? first + tables_full : first;
          const Strip next = strip_at(p, last ? chunk : after, chunk_end, next_table);
          float* out = sums + t * p.chunk_rows + (row - chunk);
          if (count == kTablesPerBlock && strip.stride == kLutRowBlock)
            add_strip<kLutRowBlock>(std::make_integer_sequence<int, kTablesPerBlock>(), tables, strip, next,
                                    kTablesPerBlock, out);
          else
            add_strip<0>(std::integer_sequence<int>(), tables, strip, next, count, out);
          row = after;
          strip = next;
        }
      }
    }
    for (int64_t t = 0; t < p.tokens; ++t)
      for (int64_t r = 0; r < chunk_end - chunk; ++r) finish(p, t, chunk + r, sums[t * p.chunk_rows + r]);
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
    Strip strip{};
    for (int64_t row = row_begin; row < row_end; row += strip.rows) {
      strip = strip_at(p, row, row_end, j * p.codebooks);
      Vector* sum = sums + (row - row_begin);
      for (int64_t r = 0; r < strip.rows; r += 2) {
        if ((r & 63) == 0)  // the next group's codes
          for (int64_t m = 0; m < p.codebooks; ++m)
            __builtin_prefetch(strip.codes + (p.codebooks + m) * strip.stride + r);
        Vector a = sum[r], b = sum[r + 1];
        const Vector* table = tables;
        const uint8_t* code = strip.codes + r;
        for (int64_t m = 0; m < p.codebooks; ++m, table += 256, code += strip.stride) {
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
