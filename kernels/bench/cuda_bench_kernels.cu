#include "kernels/bench/cuda_bench_kernels.h"
#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::bench {
namespace {

__device__ uint32_t hash(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  return x ^ (x >> 16);
}

__global__ void fill_bits_kernel(uint32_t* p, int64_t n, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x)
    p[i] = hash(static_cast<uint32_t>(i) * 2654435761U + seed);
}

__global__ void fill_half_kernel(__half* p, int64_t n, uint32_t seed, float sigma) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    const uint32_t a = hash(static_cast<uint32_t>(i) + hash(seed)), b = hash(a + 1);
    const float u = float(a & 0xffff) + float(a >> 16) + float(b & 0xffff) + float(b >> 16);
    p[i] = __float2half((u / 65536.F - 2.F) * 1.7320508F * sigma);  // sum of four uniforms
  }
}

struct ReadParams {
  const uint4* p;
  int64_t n;
  uint32_t* sink;
};

__global__ void __launch_bounds__(512) read_kernel(const __grid_constant__ ReadParams q) {
  kernels::trigger_dependents();
  uint32_t acc = 0;
  constexpr int64_t kTile = 512 * 4;
  for (int64_t base = blockIdx.x * kTile; base < q.n; base += gridDim.x * kTile) {
    uint4 v[4];
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const int64_t i = base + u * 512 + threadIdx.x;
      v[u] = i < q.n ? kernels::load_stream16(q.p + i) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int u = 0; u < 4; ++u) acc ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
  }
  kernels::wait_for_previous();
  if (acc == 0x9e3779b9U) *q.sink = acc;
}

}  // namespace

int fill_bits(void* p, int64_t bytes, uint32_t seed, void* stream) {
  fill_bits_kernel<<<1024, 256, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<uint32_t*>(p), bytes / 4, seed);
  return static_cast<int>(cudaGetLastError());
}

int fill_half(void* p, int64_t count, uint32_t seed, float sigma, void* stream) {
  fill_half_kernel<<<1024, 256, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<__half*>(p), count, seed, sigma);
  return static_cast<int>(cudaGetLastError());
}

int read_only(const void* p, int64_t bytes, void* sink, void* stream) {
  const int64_t tiles = (bytes / 16 + 2047) / 2048, most = int64_t{kernels::multiprocessors()} * 4;
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>(tiles < most ? tiles : most));
  how.block = dim3(512);
  how.programmatic = true;
  how.stream = static_cast<cudaStream_t>(stream);
  const ReadParams q{static_cast<const uint4*>(p), bytes / 16, static_cast<uint32_t*>(sink)};
  return static_cast<int>(kernels::launch<read_kernel>(how, q));
}

}  // namespace aqlm_exp::bench
