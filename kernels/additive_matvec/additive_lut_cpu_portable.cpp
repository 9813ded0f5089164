// Look-up level "portable": any CPU.
#include "kernels/additive_matvec/additive_lut_cpu_loops.h"

namespace aqlm_exp::additive_matvec::lut {

const Level& portable_level() noexcept {
  static constexpr Level kLevel{sizeof(float), 8, kNever, build_float, look_up_float, nullptr};
  return kLevel;
}

}  // namespace aqlm_exp::additive_matvec::lut
