// Look-up level "avx2": the plain loops, compiled with AVX2 and FMA. Scalar loads beat vpgatherdd 3:1 here as on Intel
// (performance.md section 1.10), so the look-ups stay scalar; building and 8-token entries are vector code.
#include "kernels/additive_matvec/additive_lut_cpu_loops.h"

namespace aqlm_exp::additive_matvec::lut {

const Level& avx2_level() noexcept {
  static constexpr Level kLevel{sizeof(float), 8, build_float, look_up_float, look_up_vector<8>};
  return kLevel;
}

}  // namespace aqlm_exp::additive_matvec::lut
