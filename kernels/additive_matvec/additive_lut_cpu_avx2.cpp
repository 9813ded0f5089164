// Look-up level "avx2": tables and 8-token entries by AVX2 and FMA. Scalar loads beat vpgatherdd (performance.md
// section 1.10), so the look-ups stay scalar, and they are the portable level's: `addss x, [table + code]` stays one
// micro-operation, its three-operand AVX form with an index does not (748 against 875 us for 2x8, 4096x4096, two
// threads of a Sapphire Rapids Xeon).
#include <immintrin.h>

#include "kernels/additive_matvec/additive_lut_cpu_loops.h"

namespace aqlm_exp::additive_matvec::lut {
namespace {

/// For each of G consecutive groups of x: out[e] = sum_d book[d][e] x[d], `stride` floats apart. What is read of the
/// book serves all groups.
template <int G>
inline void build_groups(const float* book, const float* x, int64_t group_size, float* out, int64_t stride) {
  for (int e = 0; e < 256; e += 32) {
    __m256 acc[G][4];
    for (int g = 0; g < G; ++g)
      for (int i = 0; i < 4; ++i) acc[g][i] = _mm256_setzero_ps();
    for (int64_t d = 0; d < group_size; ++d) {
      __m256 line[4];
      for (int i = 0; i < 4; ++i) line[i] = _mm256_load_ps(book + d * 256 + e + i * 8);
      for (int g = 0; g < G; ++g) {
        const __m256 factor = _mm256_set1_ps(x[g * group_size + d]);
        for (int i = 0; i < 4; ++i) acc[g][i] = _mm256_fmadd_ps(line[i], factor, acc[g][i]);
      }
    }
    for (int g = 0; g < G; ++g)
      for (int i = 0; i < 4; ++i) _mm256_store_ps(out + g * stride + e + i * 8, acc[g][i]);
  }
}

void build_tables(const Pass& p, int64_t block_begin, int64_t block_end) {
  const int64_t tables = p.group_block * p.codebooks, stride = p.codebooks * 256;
  for (int64_t block = block_begin; block < block_end; ++block)
    for (int64_t t = 0; t < p.tokens; ++t)
      for (int64_t m = 0; m < p.codebooks; ++m) {
        const int64_t first = block * p.group_block;
        int64_t left = first + p.group_block < p.groups ? p.group_block : p.groups - first;
        const float* book = p.books_by_entry + m * p.group_size * 256;
        const float* x = p.x + t * p.in_features + first * p.group_size;
        float* out = static_cast<float*>(p.tables) + (((block - p.first_block) * p.tokens + t) * tables + m) * 256;
        for (; left >= 2; left -= 2, x += 2 * p.group_size, out += 2 * stride)
          build_groups<2>(book, x, p.group_size, out, stride);
        if (left > 0) build_groups<1>(book, x, p.group_size, out, stride);
      }
}

}  // namespace

const Level& avx2_level() noexcept {
  static const Level kLevel{sizeof(float), 8, 4, build_tables, portable_level().look_up, look_up_vector<8>};
  return kLevel;
}

}  // namespace aqlm_exp::additive_matvec::lut
