// What the AVX levels do for four rows at a time, in 128-bit registers. Included by their files only, each compiled
// for its own level.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

struct FourRows {
  /// Four scales and four zero points.
  static inline void load_halves(const uint16_t* halves, float* out) {
    _mm256_store_ps(out, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves))));
  }
  using Four = __m128;
  /// offset[r] - scales[r] zero_points[r] x: scales[4 + r] are the zero points.
  static inline Four less_product(Four offset, const float* scales, float x) {
    return _mm_fnmadd_ps(_mm_mul_ps(_mm_load_ps(scales), _mm_load_ps(scales + 4)), _mm_set1_ps(x), offset);
  }
};

}  // namespace
