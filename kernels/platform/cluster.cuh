// Clusters of CTAs that share one axis of a product and add up their parts in distributed shared memory. Included by
// .cu files only.
#pragma once

#include "kernels/platform/cuda_launch.cuh"

namespace aqlm_exp::kernels {

/// Clusters of `size` CTAs (1, 2, 4 or 8) of `Kernel` that run at the same time; asked once per device and size. 0:
/// none.
template <auto Kernel>
int resident_clusters(int size, int threads, int64_t shared_bytes) noexcept {
  static std::atomic<int> known[64][4];
  const int device = current_device();
  const int slot = size == 8 ? 3 : size == 4 ? 2 : size == 2 ? 1 : 0;
  if (device < 0) return 0;
  int count = known[device][slot].load(std::memory_order_relaxed);
  if (count > 0) return count;
  if (size == 1) {
    count = multiprocessors();
  } else {
    if (!allow_shared<Kernel>(shared_bytes)) return 0;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(size), 1);
    config.blockDim = dim3(static_cast<unsigned>(threads));
    config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(size);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    config.attrs = &attribute;
    config.numAttrs = 1;
    if (cudaOccupancyMaxActiveClusters(&count, Kernel, &config) != cudaSuccess) {
      cudaGetLastError();
      return 0;
    }
  }
  known[device][slot].store(count, std::memory_order_relaxed);
  return count;
}

#ifdef __CUDACC__

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}
/// A barrier that orders nothing: what was read from other CTAs is in registers, and the stores of y need not have
/// arrived.
__device__ __forceinline__ void cluster_leave() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;\n\tbarrier.cluster.wait.aligned;" ::: "memory");
}
/// A float of CTA `rank`'s shared memory; `local` is its address in the own one.
__device__ __forceinline__ float load_cluster(uint32_t local, uint32_t rank) {
  uint32_t remote;
  float value;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(remote) : "memory");
  return value;
}

/// `sum` and one float of each of `splits` CTAs, at most eight; `part` is its place in the own one. All loads first:
/// an addition behind each would wait 200 clocks eight times.
__device__ __forceinline__ float cluster_sum(const float* part, int splits, float sum) {
  const uint32_t local = shared_address(part);
  float parts[8];
#pragma unroll
  for (int k = 0; k < 8; ++k) parts[k] = k < splits ? load_cluster(local, static_cast<uint32_t>(k)) : 0.F;
#pragma unroll
  for (int k = 0; k < 8; ++k) sum += parts[k];
  return sum;
}

#endif  // __CUDACC__

}  // namespace aqlm_exp::kernels
