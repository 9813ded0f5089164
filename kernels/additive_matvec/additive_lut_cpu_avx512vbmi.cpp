// Look-up level "avx512vbmi": the int16 table as a plane of low and a plane of high bytes, four registers each; a byte
// permute covers 128 entries, so 64 codes take four permutes in the place of eight.
#include <immintrin.h>

#include <cstdint>

namespace {

/// Where the low byte of entry e is in two vectors of packed pairs (bit 6: the second vector).
struct ByteOrder {
  alignas(64) uint8_t at[64];
  constexpr ByteOrder() : at{} {
    for (int e = 0; e < 64; ++e) {
      const int source = e / 16, lane = e % 16 / 4, place = (source % 2) * 4 + e % 4;
      at[e] = static_cast<uint8_t>((source / 2) * 64 + lane * 16 + place * 2);
    }
  }
};
constexpr ByteOrder kOrder;
constexpr const uint8_t* kLowBytes = kOrder.at;

struct Shuffle {
  struct Table {
    __m512i low[4], high[4];
  };
  /// Entries 64 part to 64 part + 63, as vpackssdw leaves them: four of the first sixteen, four of the second, ...
  static inline void store(unsigned char* table, int part, __m512i first, __m512i second) {
    const __m512i low = _mm512_load_si512(kLowBytes);
    _mm512_store_si512(table + part * 64, _mm512_permutex2var_epi8(first, low, second));
    _mm512_store_si512(table + 256 + part * 64,
                       _mm512_permutex2var_epi8(first, _mm512_or_si512(low, _mm512_set1_epi8(1)), second));
  }
  static inline Table load(const unsigned char* table) {
    Table t;
    for (int i = 0; i < 4; ++i) {
      t.low[i] = _mm512_load_si512(table + i * 64);
      t.high[i] = _mm512_load_si512(table + 256 + i * 64);
    }
    return t;
  }
  static inline void add(const Table& t, __m512i codes, __m512i* low, __m512i* high) {
    const __mmask64 bit7 = _mm512_movepi8_mask(codes);
    const __m512i low_bytes = _mm512_mask_blend_epi8(bit7, _mm512_permutex2var_epi8(t.low[0], codes, t.low[1]),
                                                     _mm512_permutex2var_epi8(t.low[2], codes, t.low[3]));
    const __m512i high_bytes = _mm512_mask_blend_epi8(bit7, _mm512_permutex2var_epi8(t.high[0], codes, t.high[1]),
                                                      _mm512_permutex2var_epi8(t.high[2], codes, t.high[3]));
    *low = _mm512_add_epi16(*low, _mm512_unpacklo_epi8(low_bytes, high_bytes));
    *high = _mm512_add_epi16(*high, _mm512_unpackhi_epi8(low_bytes, high_bytes));
  }
  /// The unpacks interleave within 128-bit lanes: position 8 * lane + i is row 16 * lane + i, then the same plus 8.
  static inline int row_of(int position) { return (position & 31) / 8 * 16 + (position & 7) + (position < 32 ? 0 : 8); }
};

}  // namespace

#include "kernels/additive_matvec/additive_lut_cpu_int16.h"

namespace aqlm_exp::additive_matvec::lut {

const Level& avx512vbmi_level() noexcept {
  static constexpr Level kLevel{sizeof(int16_t), 16, 17, build_int16, look_up_int16, look_up_vector<16>};
  return kLevel;
}

}  // namespace aqlm_exp::additive_matvec::lut
