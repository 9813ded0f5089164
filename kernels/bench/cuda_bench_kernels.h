// Device helpers of cuda_bench.cpp. Each returns a cudaError_t as int.
#pragma once

#include <cstdint>

namespace aqlm_exp::bench {

int fill_bits(void* p, int64_t bytes, uint32_t seed, void* stream);
/// Roughly normal fp16 numbers with standard deviation sigma.
int fill_half(void* p, int64_t count, uint32_t seed, float sigma, void* stream);
/// Reads `bytes` and nothing else, with programmatic dependent launch: the floor of any kernel that must read them.
int read_only(const void* p, int64_t bytes, void* sink, void* stream);

}  // namespace aqlm_exp::bench
