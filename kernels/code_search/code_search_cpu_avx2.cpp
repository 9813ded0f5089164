// Code search, level "avx2": eight lanes, AVX2 and FMA.
#include <immintrin.h>

#include <cstdint>

namespace aqlm_exp::code_search::cpu {
namespace {

struct Vec {
  static constexpr int kWidth = 8;
  static constexpr int kNearestQueries = 4, kNearestVecs = 2, kPairRows = 2, kMultiplyRows = 4, kMultiplyVecs = 2;
  using Float = __m256;
  using Int = __m256i;
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static Int load_int(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static void store_int(int32_t* p, Int v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Float broadcast(float x) { return _mm256_set1_ps(x); }
  static Int broadcast_int(int32_t x) { return _mm256_set1_epi32(x); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float min(Float a, Float b) { return _mm256_min_ps(a, b); }  // b where either is NaN
  static void keep_less(Float value, Float& best, Int& where, Int now) {
    const __m256i less = _mm256_castps_si256(_mm256_cmp_ps(value, best, _CMP_LT_OQ));
    best = _mm256_min_ps(value, best);
    where = _mm256_blendv_epi8(where, now, less);
  }
  static float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
};

}  // namespace
}  // namespace aqlm_exp::code_search::cpu

#include "kernels/code_search/code_search_cpu_loops.h"

namespace aqlm_exp::code_search::cpu {

const Level& avx2_level() noexcept { return kLoops; }

}  // namespace aqlm_exp::code_search::cpu
