// Level "avx512": sixteen codes a step. Integers by conversion; a table of 16 levels by vpermps, which reads the low
// four bits of each 32-bit index, so that 4-bit codes need a shift and no mask, with scale and zero point put into the
// table once a group.
#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "kernels/scalar_matvec/scalar_cpu_four_rows.h"

namespace {

struct Lanes : FourRows {
  static constexpr int kWidth = 16;
  static constexpr int kMaxTokens = 4;
  using Floats = __m512;
  using Integers = __m512i;
  static inline Integers load_words(const uint32_t* p) { return _mm512_load_si512(p); }
  static inline Floats load(const float* p) { return _mm512_loadu_ps(p); }
  static inline Integers keep(Integers v, uint32_t bits) {
    return _mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(bits)));
  }
  static inline Integers either(Integers a, Integers b) { return _mm512_or_si512(a, b); }
  static inline Integers left(Integers v, int n) { return _mm512_sll_epi32(v, _mm_cvtsi32_si128(n)); }
  static inline Integers right(Integers v, int n) { return _mm512_srl_epi32(v, _mm_cvtsi32_si128(n)); }
  static inline Floats convert(Integers v) { return _mm512_cvtepi32_ps(v); }
  static inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static inline Floats set(float v) { return _mm512_set1_ps(v); }
  static inline Floats zero() { return _mm512_setzero_ps(); }
  static inline float sum(Floats v) { return _mm512_reduce_add_ps(v); }
};

}  // namespace

#include "kernels/scalar_matvec/scalar_cpu_integers.h"

namespace aqlm_exp::scalar_matvec::cpu {
namespace {

/// Sixteen lanes of one row in one block; step() moves to the next code.
template <int Bits>
struct Codes;

template <>
struct Codes<4> {
  __m512i words;
  inline void load(const uint32_t* p) { words = _mm512_load_si512(p); }
  inline void enter(int) {}
  inline __m512i index() const { return words; }
  inline void step() { words = _mm512_srli_epi32(words, 4); }
};
template <>
struct Codes<2> {  // the table repeats every four entries, so higher bits need no mask
  __m512i words;
  inline void load(const uint32_t* p) { words = _mm512_load_si512(p); }
  inline void enter(int) {}
  inline __m512i index() const { return words; }
  inline void step() { words = _mm512_srli_epi32(words, 2); }
};
template <>
struct Codes<3> {  // the table repeats every eight
  __m512i words, upper, high;
  inline void load(const uint32_t* p) {
    words = _mm512_load_si512(p);
    upper = _mm512_load_si512(p + 16);
    high = _mm512_rol_epi32(_mm512_load_si512(p + 32), 2);
  }
  inline void enter(int k) {
    if (k == 16) words = upper;
  }
  inline __m512i index() const {  // bits 0 and 1 of words, the rest of high
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(3), words, high, 0xCA);
  }
  inline void step() {
    words = _mm512_srli_epi32(words, 2);
    high = _mm512_ror_epi32(high, 1);
  }
};

template <int Bits, int T>
void quad(const Pass& p, int64_t q, int64_t token) {
  constexpr int kCodes = static_cast<int>(block_columns(Bits) / 16);
  constexpr int kRows = static_cast<int>(kQuad);
  const uint32_t* words = p.codes + q * p.blocks * kRows * block_words(Bits);
  const uint16_t* scales = p.scales + q * p.groups * 8;
  const __m512 table = _mm512_loadu_ps(p.levels);
  __m512 sums[kRows][T];
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < T; ++t) sums[r][t] = _mm512_setzero_ps();
  const float* x = p.x + token * p.padded_inputs;
  __m512 tables[kRows];         // the group's weights themselves: levels times scale, less the zero point
  int64_t left = 0, group = 0;  // steps of 16 columns until the next group
  for (int64_t b = 0; b < p.blocks; ++b, words += kRows * block_words(Bits)) {
    if (token == 0) fetch_ahead<Bits>(words);
    Codes<Bits> codes[kRows];
    for (int r = 0; r < kRows; ++r) codes[r].load(words + r * block_words(Bits));
    for (int k = 0; k < kCodes;) {
      if (left == 0) {
        // Past the last group come padded columns, whose inputs are zero: the last scales serve them.
        const int64_t g = group < p.groups ? group : p.groups - 1;
        const __m256 both = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + g * 8)));
        const __m128 s = _mm256_castps256_ps128(both);
        const __m128 o = _mm_sub_ps(_mm_setzero_ps(), _mm_mul_ps(s, _mm256_extractf128_ps(both, 1)));
        const auto scaled = [&](int row) {
          const __m128i from = _mm_set1_epi32(row);
          return _mm512_fmadd_ps(table, _mm512_broadcastss_ps(_mm_permutevar_ps(s, from)),
                                 _mm512_broadcastss_ps(_mm_permutevar_ps(o, from)));
        };
        for (int r = 0; r < kRows; ++r) tables[r] = scaled(r);
        left = group + 1 >= p.groups ? INT64_MAX : p.group_size / 16;
        ++group;
      }
      const int stop = left < kCodes - k ? k + static_cast<int>(left) : kCodes;
      left -= stop - k;
      for (; k < stop; ++k) {
        const float* input = x + b * block_columns(Bits) + k * 16;
        __m512 weight[kRows];
        for (int r = 0; r < kRows; ++r) {
          codes[r].enter(k);
          weight[r] = _mm512_permutexvar_ps(codes[r].index(), tables[r]);
          codes[r].step();
        }
        for (int t = 0; t < T; ++t) {
          const __m512 value = _mm512_loadu_ps(input + t * p.padded_inputs);
          for (int r = 0; r < kRows; ++r) sums[r][t] = _mm512_fmadd_ps(weight[r], value, sums[r][t]);
        }
      }
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < kRows; ++r) finish(p, token + t, q * kQuad + r, _mm512_reduce_add_ps(sums[r][t]));
}

template <int Bits>
void quads(const Pass& p, int64_t begin, int64_t end) {
  for (int64_t q = begin; q < end; ++q) {
    int64_t token = 0;
    for (; token + 4 <= p.batch; token += 4) quad<Bits, 4>(p, q, token);
    if (p.batch - token >= 2) {
      quad<Bits, 2>(p, q, token);
      token += 2;
    }
    if (token < p.batch) quad<Bits, 1>(p, q, token);
  }
}

}  // namespace

void avx512_quads(const Pass& p, int nbits, int64_t begin, int64_t end) {
  if (nbits == 4)
    p.integer_levels ? quads_of_integers<4>(p, begin, end) : quads<4>(p, begin, end);
  else if (nbits == 3)
    p.integer_levels ? quads_of_integers<3>(p, begin, end) : quads<3>(p, begin, end);
  else
    p.integer_levels ? quads_of_integers<2>(p, begin, end) : quads<2>(p, begin, end);
}

}  // namespace aqlm_exp::scalar_matvec::cpu
