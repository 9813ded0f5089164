// Which CPU instructions this process may use. Kernels are compiled once per level, each in a file of its own, and
// picked at run time, so that one generic x86-64 binary runs everywhere; other architectures take the portable level.
#pragma once

namespace aqlm_exp::kernels {

enum class CpuIsa : int {
  kPortable,
  kAvx2,        // AVX2 + FMA
  kAvx512,      // AVX-512 F, BW, VL, DQ
  kAvx512Vbmi,  // the same + VBMI
  kBest = 99,   // in calls: the highest level of this CPU
};

/// The highest level that the CPU and the operating system support and this build contains.
CpuIsa best_cpu_isa() noexcept;
/// `wanted` itself if it can run here, the best level for kBest; anything else falls to the best level below it.
CpuIsa usable_cpu_isa(CpuIsa wanted) noexcept;
const char* cpu_isa_name(CpuIsa isa) noexcept;

}  // namespace aqlm_exp::kernels
