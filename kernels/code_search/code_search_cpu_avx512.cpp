// Code search, level "avx512bw": sixteen lanes.
#include <immintrin.h>

#include <cstdint>

namespace aqlm_exp::code_search::cpu {
namespace {

struct Vec {
  static constexpr int kWidth = 16;
  static constexpr int kNearestQueries = 6, kNearestVecs = 2, kPairRows = 8, kMultiplyRows = 4, kMultiplyVecs = 4;
  using Float = __m512;
  using Int = __m512i;
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static Int load_int(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store_int(int32_t* p, Int v) { _mm512_storeu_si512(p, v); }
  static Float broadcast(float x) { return _mm512_set1_ps(x); }
  static Int broadcast_int(int32_t x) { return _mm512_set1_epi32(x); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float min(Float a, Float b) { return _mm512_min_ps(a, b); }  // b where either is NaN
  static void keep_less(Float value, Float& best, Int& where, Int now) {
    const __mmask16 less = _mm512_cmp_ps_mask(value, best, _CMP_LT_OQ);
    best = _mm512_min_ps(value, best);
    where = _mm512_mask_mov_epi32(where, less, now);
  }
  static float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
};

}  // namespace
}  // namespace aqlm_exp::code_search::cpu

#include "kernels/code_search/code_search_cpu_loops.h"

namespace aqlm_exp::code_search::cpu {

const Level& avx512_level() noexcept { return kLoops; }

}  // namespace aqlm_exp::code_search::cpu
