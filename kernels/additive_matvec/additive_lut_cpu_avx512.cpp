// Look-up level "avx512bw": a table of 256 int16 is eight registers; four two-source permutes cover it, blended by the
// top two bits of the code. Even and odd rows of 64 codes are handled in place: a permute reads the low six bits of
// each 16-bit index only, so even codes need no mask and odd ones a shift.
#include <immintrin.h>

#include <cstdint>

namespace {

struct Shuffle {
  struct Table {
    __m512i part[8];
  };
  /// Entries 64 part to 64 part + 63, as vpackssdw leaves them: four of the first sixteen, four of the second, ...
  static inline void store(unsigned char* table, int part, __m512i first, __m512i second) {
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    _mm512_store_si512(table + part * 128, _mm512_permutexvar_epi64(order, first));
    _mm512_store_si512(table + part * 128 + 64, _mm512_permutexvar_epi64(order, second));
  }
  static inline Table load(const unsigned char* table) {
    Table t;
    for (int i = 0; i < 8; ++i) t.part[i] = _mm512_load_si512(table + i * 64);
    return t;
  }
  static inline __m512i pick(const Table& t, __m512i index) {
    const __mmask32 bit6 = _mm512_test_epi16_mask(index, _mm512_set1_epi16(0x40));
    const __mmask32 bit7 = _mm512_test_epi16_mask(index, _mm512_set1_epi16(0x80));
    const __m512i a = _mm512_permutex2var_epi16(t.part[0], index, t.part[1]);
    const __m512i b = _mm512_permutex2var_epi16(t.part[2], index, t.part[3]);
    const __m512i c = _mm512_permutex2var_epi16(t.part[4], index, t.part[5]);
    const __m512i d = _mm512_permutex2var_epi16(t.part[6], index, t.part[7]);
    return _mm512_mask_blend_epi16(bit7, _mm512_mask_blend_epi16(bit6, a, b), _mm512_mask_blend_epi16(bit6, c, d));
  }
  static inline void add(const Table& t, __m512i codes, __m512i* low, __m512i* high) {
    *low = _mm512_add_epi16(*low, pick(t, codes));                          // rows 0, 2, 4, ...
    *high = _mm512_add_epi16(*high, pick(t, _mm512_srli_epi16(codes, 8)));  // rows 1, 3, 5, ...
  }
  static inline int row_of(int position) { return position < 32 ? 2 * position : 2 * (position - 32) + 1; }
};

}  // namespace

#include "kernels/additive_matvec/additive_lut_cpu_int16.h"

namespace aqlm_exp::additive_matvec::lut {

const Level& avx512_level() noexcept {
  static constexpr Level kLevel{sizeof(int16_t), 16, 13, build_int16, look_up_int16, look_up_vector<16>};
  return kLevel;
}

}  // namespace aqlm_exp::additive_matvec::lut
