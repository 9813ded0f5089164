// Look-up level "avx2": tables and 8-token entries by AVX2 and FMA. Scalar loads beat vpgatherdd (performance.md
// section 1.10), so the look-ups stay scalar, and they are the portable level's: `addss x, [table + code]` stays one
// micro-operation, its three-operand AVX form with an index does not (748 against 875 us for 2x8, 4096x4096, two
// threads of a Sapphire Rapids Xeon).
#include "kernels/additive_matvec/additive_lut_cpu_loops.h"

namespace aqlm_exp::additive_matvec::lut {

const Level& avx2_level() noexcept {
  static const Level kLevel{sizeof(float), 8, 3, build_float, portable_level().look_up, look_up_vector<8>};
  return kLevel;
}

}  // namespace aqlm_exp::additive_matvec::lut
