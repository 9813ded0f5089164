// What the CPU entries share: the level of this machine, and books laid out for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/code_search/code_search_cpu_levels.h"
#include "kernels/platform/cpu_isa.h"
#include "kernels/platform/thread_pool.h"

namespace aqlm_exp::code_search::cpu {

constexpr float kNever = std::numeric_limits<float>::infinity();

inline int64_t aligned_floats(int64_t count) { return (count + 15) / 16 * 16; }

inline const Level& level_for(kernels::CpuIsa isa) noexcept {
#ifdef AQLM_EXP_X86
  switch (kernels::usable_cpu_isa(isa)) {
    case kernels::CpuIsa::kAvx2:
      return avx2_level();
    case kernels::CpuIsa::kAvx512:
    case kernels::CpuIsa::kAvx512Vbmi:
      return avx512_level();
    default:
      break;
  }
#endif
  (void)isa;
  return portable_level();
}

/// [size, g] to Book's layout: padded_size(size) * g floats.
inline void transpose_book(const float* book, int64_t size, int64_t g, float* words) noexcept {
  const int64_t padded = padded_size(size);
  for (int64_t d = 0; d < g; ++d) {
    for (int64_t k = 0; k < size; ++k) words[d * padded + k] = book[k * g + d];
    std::fill(words + d * padded + size, words + (d + 1) * padded, 0.0F);
  }
}

}  // namespace aqlm_exp::code_search::cpu
