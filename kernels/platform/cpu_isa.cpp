#include "kernels/platform/cpu_isa.h"

namespace aqlm_exp::kernels {

CpuIsa best_cpu_isa() noexcept {
#ifdef AQLM_EXP_X86
  // __builtin_cpu_supports asks cpuid and XGETBV: a system that does not save the registers counts as without them.
  static const CpuIsa best = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return CpuIsa::kPortable;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
      return CpuIsa::kAvx2;
    return __builtin_cpu_supports("avx512vbmi") ? CpuIsa::kAvx512Vbmi : CpuIsa::kAvx512;
  }();
  return best;
#else
  return CpuIsa::kPortable;
#endif
}

CpuIsa usable_cpu_isa(CpuIsa wanted) noexcept {
  const CpuIsa best = best_cpu_isa();
  return static_cast<int>(wanted) > static_cast<int>(best) ? best : wanted;
}

const char* cpu_isa_name(CpuIsa isa) noexcept {
  switch (isa) {
    case CpuIsa::kPortable:
      return "portable";
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512:
      return "avx512bw";
    case CpuIsa::kAvx512Vbmi:
      return "avx512vbmi";
    case CpuIsa::kBest:
      return "best";
  }
  return "unknown";
}

}  // namespace aqlm_exp::kernels
