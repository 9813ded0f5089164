// Code search on the CPU: AVX-512, AVX2 or portable, picked at run time. Threads own rows; a row's codes do not depend
// on the number of threads.
#pragma once

#include <cstdint>

#include "kernels/code_search/code_search.h"
#include "kernels/platform/cpu_isa.h"
#include "kernels/platform/status.h"

namespace aqlm_exp::code_search {

struct CpuRun {
  int threads = 1;
  kernels::CpuIsa isa = kernels::CpuIsa::kBest;
  void* workspace = nullptr;  // …_workspace_bytes(shape, threads), 64-byte aligned; scratch, one per concurrent call
};

/// Any group size up to kMaxGroupSize.
kernels::Status nearest_cpu_supports(const NearestShape& shape) noexcept;
int64_t nearest_cpu_workspace_bytes(const NearestShape& shape, int threads) noexcept;
kernels::Status nearest_cpu(const NearestShape& shape, const NearestCall& call, const CpuRun& run) noexcept;

int64_t accumulate_cpu_workspace_bytes(const NearestShape& shape, int threads) noexcept;
kernels::Status accumulate_cpu(const NearestShape& shape, const AccumulateCall& call, const CpuRun& run) noexcept;

/// Any group size up to kMaxGroupSize, up to kMaxBooks books of up to 16 bits; kExact as SweepSearch says.
kernels::Status sweep_cpu_supports(const SweepShape& shape, SweepKind kind, SweepSearch search,
                                   int32_t candidates) noexcept;
int64_t sweep_cpu_workspace_bytes(const SweepShape& shape, SweepSearch search, int threads) noexcept;
kernels::Status sweep_cpu(const SweepShape& shape, const SweepCall& call, const CpuRun& run) noexcept;

}  // namespace aqlm_exp::code_search
