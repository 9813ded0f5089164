// Code search on the GPU. Device pointers everywhere in the call, `stream` is a cudaStream_t; no CUDA header here.
// Every entry is ordered by the stream, allocates nothing, never synchronises and is deterministic.
#pragma once

#include <cstdint>

#include "kernels/code_search/code_search.h"
#include "kernels/platform/status.h"

namespace aqlm_exp::code_search {

struct CudaRun {
  void* workspace = nullptr;  // device memory of …_workspace_bytes, 256-byte aligned; scratch, one per stream
  void* stream = nullptr;
};

/// Is there a usable GPU, and was this built with CUDA? kOk or kNoDevice.
kernels::Status code_search_cuda_available() noexcept;

/// Group sizes 4, 8 and 16. Pointers 16-byte aligned.
kernels::Status nearest_cuda_supports(const NearestShape& shape) noexcept;
int64_t nearest_cuda_workspace_bytes(const NearestShape& shape) noexcept;
kernels::Status nearest_cuda(const NearestShape& shape, const NearestCall& call, const CudaRun& run) noexcept;

/// Every shape that nearest_cpu takes.
int64_t accumulate_cuda_workspace_bytes(const NearestShape& shape) noexcept;
kernels::Status accumulate_cuda(const NearestShape& shape, const AccumulateCall& call, const CudaRun& run) noexcept;

/// Group sizes 4, 8 and 16; kExact, kOneBook, and kStages with up to 32 candidates. Pointers 16-byte aligned.
/// One kernel runs a whole sweep (of up to 512 groups); two small ones before it make the tables that its rows share.
kernels::Status sweep_cuda_supports(const SweepShape& shape, SweepKind kind, SweepSearch search,
                                    int32_t candidates) noexcept;
int64_t sweep_cuda_workspace_bytes(const SweepShape& shape, SweepSearch search) noexcept;
kernels::Status sweep_cuda(const SweepShape& shape, const SweepCall& call, const CudaRun& run) noexcept;

}  // namespace aqlm_exp::code_search
