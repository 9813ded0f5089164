// The step of accumulate's fixed point, the same on both devices.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define AQLM_EXP_BOTH __host__ __device__
#else
#define AQLM_EXP_BOTH
#endif

namespace aqlm_exp::code_search {

/// A power of two such that `terms` numbers of at most `largest` add up to less than 2^62 steps.
AQLM_EXP_BOTH inline double fixed_point_scale(float largest, int64_t terms) {
  if (!(largest > 0)) return 1;
  int exponent = 0;
  frexp(static_cast<double>(largest) * static_cast<double>(terms), &exponent);  // below 2^exponent
  return ldexp(1.0, 61 - exponent);
}

}  // namespace aqlm_exp::code_search

#undef AQLM_EXP_BOTH
