// Level "avx2": eight codes a step; integers by conversion, tables by two permutes and a blend.
#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "kernels/scalar_matvec/scalar_cpu_four_rows.h"

namespace {

struct Lanes : FourRows {
  static constexpr int kWidth = 8;
  static constexpr int kMaxTokens = 4;
  using Floats = __m256;
  using Integers = __m256i;
  static inline Integers load_words(const uint32_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static inline Floats load(const float* p) { return _mm256_loadu_ps(p); }
  static inline Integers keep(Integers v, uint32_t bits) {
    return _mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(bits)));
  }
  static inline Integers either(Integers a, Integers b) { return _mm256_or_si256(a, b); }
  static inline Integers left(Integers v, int n) { return _mm256_sll_epi32(v, _mm_cvtsi32_si128(n)); }
  static inline Integers right(Integers v, int n) { return _mm256_srl_epi32(v, _mm_cvtsi32_si128(n)); }
  static inline Floats convert(Integers v) { return _mm256_cvtepi32_ps(v); }
  static inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static inline Floats set(float v) { return _mm256_set1_ps(v); }
  static inline Floats zero() { return _mm256_setzero_ps(); }
  static inline float sum(Floats v) {
    alignas(32) float l[8];
    _mm256_store_ps(l, v);
    return ((l[0] + l[4]) + (l[1] + l[5])) + ((l[2] + l[6]) + (l[3] + l[7]));
  }
};

}  // namespace

#include "kernels/scalar_matvec/scalar_cpu_integers.h"

namespace aqlm_exp::scalar_matvec::cpu {
namespace {

struct Table {
  __m256 low, high;
};

/// Eight lanes of one row in one block, from code k on; step() moves to the next code. Shifts by a constant take one
/// micro-operation, shifts by a register two and a load.
template <int Bits>
struct Codes {  // 4 and 2 bits
  __m256i words;
  inline void enter(const uint32_t* p, int k, bool) {
    words = _mm256_srl_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(p)), _mm_cvtsi32_si128(Bits * k));
  }
  inline __m256i index() const { return words; }
  inline void step() { words = _mm256_srli_epi32(words, Bits); }
};
template <>
struct Codes<3> {
  __m256i low, high;
  inline void enter(const uint32_t* p, int k, bool first) {
    low = _mm256_srl_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(p + (k >= 16 ? 16 : 0))),
                           _mm_cvtsi32_si128(2 * (k & 15)));
    if (first) {
      high = _mm256_srl_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(p + 32)), _mm_cvtsi32_si128(k));
    }
  }
  inline __m256i index() const {
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(3)),
                           _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(1)), 2));
  }
  inline void step() {
    low = _mm256_srli_epi32(low, 2);
    high = _mm256_srli_epi32(high, 1);
  }
};

template <int Bits>
inline __m256 level_of(__m256i codes, const Table& table) {
  if constexpr (Bits < 4) {  // the table repeats
    return _mm256_permutevar8x32_ps(table.low, codes);
  } else {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table.low, codes), _mm256_permutevar8x32_ps(table.high, codes),
                            _mm256_castsi256_ps(_mm256_slli_epi32(codes, 28)));
  }
}

template <int Bits, int T>
void quad(const Pass& p, int64_t q, int64_t token) {
  constexpr int kCodes = static_cast<int>(block_columns(Bits) / 16);
  constexpr int kRows = static_cast<int>(kQuad);
  const uint32_t* words = p.codes + q * p.blocks * kRows * block_words(Bits);
  const uint16_t* scales = p.scales + q * p.groups * 8;
  const Table table{_mm256_loadu_ps(p.levels), _mm256_loadu_ps(p.levels + 8)};
  __m256 sums[kRows][T];
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < T; ++t) sums[r][t] = _mm256_setzero_ps();
  const float* x = p.x + token * p.padded_inputs;
  alignas(32) float both[8] = {};
  float offset[kRows] = {};
  int64_t left = 0, group = 0;
  for (int64_t b = 0; b < p.blocks; ++b, words += kRows * block_words(Bits)) {
    if (token == 0) fetch_ahead<Bits>(words);
    for (int k = 0; k < kCodes;) {
      if (left == 0) {
        const int64_t g = group < p.groups ? group : p.groups - 1;
        _mm256_store_ps(both, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + g * 8))));
        for (int r = 0; r < kRows; ++r) offset[r] = -both[r] * both[r + 4];
        left = group + 1 >= p.groups ? INT64_MAX : p.group_size / 16;
        ++group;
      }
      const int stop = left < kCodes - k ? k + static_cast<int>(left) : kCodes;
      left -= stop - k;
      // A group's sum is (sum of level x) scale + (sum of x) offset: the scale is met once a group, not once a weight.
      const float* first = x + b * block_columns(Bits) + k * 16;
      __m256 total[T];
      for (int t = 0; t < T; ++t) {
        total[t] = _mm256_setzero_ps();
        for (int c = 0; c < 2 * (stop - k); ++c)
          total[t] = _mm256_add_ps(total[t], _mm256_loadu_ps(first + t * p.padded_inputs + c * 8));
      }
      for (int r = 0; r < kRows; ++r) {  // a row at a time: its codes and sums fit the sixteen registers
        const uint32_t* line = words + r * block_words(Bits);
        __m256 low[T], high[T];
        for (int t = 0; t < T; ++t) low[t] = high[t] = _mm256_setzero_ps();
        Codes<Bits> left_codes, right_codes;
        for (int c = k; c < stop; ++c) {
          if (c == k || (Bits == 3 && c == 16)) {
            left_codes.enter(line, c, c == k);
            right_codes.enter(line + 8, c, c == k);
          }
          const float* input = x + b * block_columns(Bits) + c * 16;
          const __m256 a = level_of<Bits>(left_codes.index(), table);
          const __m256 d = level_of<Bits>(right_codes.index(), table);
          left_codes.step();
          right_codes.step();
          for (int t = 0; t < T; ++t) {
            low[t] = _mm256_fmadd_ps(a, _mm256_loadu_ps(input + t * p.padded_inputs), low[t]);
            high[t] = _mm256_fmadd_ps(d, _mm256_loadu_ps(input + t * p.padded_inputs + 8), high[t]);
          }
        }
        const __m256 scale = _mm256_set1_ps(both[r]), shift = _mm256_set1_ps(offset[r]);
        for (int t = 0; t < T; ++t) {
          const __m256 group_sum = _mm256_fmadd_ps(_mm256_add_ps(low[t], high[t]), scale, sums[r][t]);
          sums[r][t] = _mm256_fmadd_ps(total[t], shift, group_sum);
        }
      }
      k = stop;
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < kRows; ++r) {
      alignas(32) float lanes[8];
      _mm256_store_ps(lanes, sums[r][t]);
      finish(p, token + t, q * kQuad + r,
             ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7])));
    }
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

void avx2_quads(const Pass& p, int nbits, int64_t begin, int64_t end) {
  if (nbits == 4)
    p.integer_levels ? quads_of_integers<4>(p, begin, end) : quads<4>(p, begin, end);
  else if (nbits == 3)
    p.integer_levels ? quads_of_integers<3>(p, begin, end) : quads<3>(p, begin, end);
  else
    p.integer_levels ? quads_of_integers<2>(p, begin, end) : quads<2>(p, begin, end);
}

}  // namespace aqlm_exp::scalar_matvec::cpu
