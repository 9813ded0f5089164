// Nearest codewords of many queries, fused: scores never reach memory.
// The least work of a 4096x4096 layer with one book of 65536 codewords is 1.1e12 multiply-adds and 1.4e11 minima:
// 33 ms at the 128 multiply-adds a clock of 132 multiprocessors at 1.98 GHz, 37 ms with the minima in their slots.
#include "kernels/code_search/code_search_cuda.cuh"

namespace aqlm_exp::code_search {
namespace {

using kernels::Status;

struct NearestParams {
  const float *queries, *book, *bias;
  int32_t* index;
  float* score;
  int64_t batches, rows, tiles_per_batch, bias_pitch;  // bias_pitch 0: one bias for all batches
  int codewords;
};

constexpr int kQueries = 32;  // of a tile; a tile lies in one batch

template <int G>
__global__ void __launch_bounds__(gpu::kThreads, 1) nearest_kernel(const __grid_constant__ NearestParams p) {
  __shared__ gpu::Found<kQueries> found;
  __shared__ __align__(16) float minus2u[kQueries * G];
  for (int64_t tile = blockIdx.x; tile < p.batches * p.tiles_per_batch; tile += gridDim.x) {
    const int64_t batch = tile / p.tiles_per_batch, first = tile % p.tiles_per_batch * kQueries;
    const int64_t at = batch * p.rows + first;
    const int here = static_cast<int>(p.rows - first < kQueries ? p.rows - first : kQueries);
    for (int i = static_cast<int>(threadIdx.x); i < kQueries * G; i += gpu::kThreads)
      minus2u[i] = i < here * G ? -2 * p.queries[at * G + i] : 0;
    __syncthreads();
    gpu::search_book<G, kQueries>(minus2u, p.book, p.bias + batch * p.bias_pitch, p.codewords, found);
    if (static_cast<int>(threadIdx.x) < here) {
      p.index[at + threadIdx.x] = found.index[threadIdx.x];
      if (p.score) p.score[at + threadIdx.x] = found.low[threadIdx.x];
    }
    __syncthreads();
  }
}

/// Books that fit into shared memory: a thread holds four queries and walks the whole book, which all threads of a warp
/// read from the same address. Per tile of 32 queries the kernel above spends more on merging lanes than on 256 scores.
constexpr int kSmallBook = 512, kSmallThreads = 128, kSmallQueries = 4;

template <int G>
__global__ void __launch_bounds__(kSmallThreads) nearest_small_kernel(const __grid_constant__ NearestParams p) {
  extern __shared__ __align__(16) float shared[];
  float *book = shared, *bias = shared + p.codewords * G;  // [codewords][G], [codewords]
  const int thread = static_cast<int>(threadIdx.x);
  for (int i = thread; i < p.codewords * G; i += kSmallThreads) book[i] = __ldg(p.book + i);
  int64_t have = -1;
  for (int64_t tile = blockIdx.x; tile < p.batches * p.tiles_per_batch; tile += gridDim.x) {
    const int64_t batch = tile / p.tiles_per_batch;
    if (batch != have) {
      __syncthreads();  // everyone is done with the last batch's bias
      for (int i = thread; i < p.codewords; i += kSmallThreads) bias[i] = __ldg(p.bias + batch * p.bias_pitch + i);
      have = batch;
      __syncthreads();
    }
    const int64_t first = tile % p.tiles_per_batch * (kSmallThreads * kSmallQueries) + thread;
    float u[kSmallQueries][G], best[kSmallQueries];
    int where[kSmallQueries];
#pragma unroll
    for (int q = 0; q < kSmallQueries; ++q) {
      best[q] = gpu::kInfinity;
      where[q] = 0;
      const int64_t r = first + q * kSmallThreads;
#pragma unroll
      for (int d = 0; d < G; d += 4) {
        float4 v = make_float4(0, 0, 0, 0);
        if (r < p.rows) v = __ldg(reinterpret_cast<const float4*>(p.queries + (batch * p.rows + r) * G + d));
        u[q][d] = -2 * v.x, u[q][d + 1] = -2 * v.y, u[q][d + 2] = -2 * v.z, u[q][d + 3] = -2 * v.w;
      }
    }
#pragma unroll 2
    for (int k = 0; k < p.codewords; ++k) {
      float word[G];
#pragma unroll
      for (int d = 0; d < G; d += 4) gpu::unpack(*reinterpret_cast<const float4*>(book + k * G + d), word + d);
      const float start = bias[k];
#pragma unroll
      for (int q = 0; q < kSmallQueries; ++q) {
        float score = start;
#pragma unroll
        for (int d = 0; d < G; ++d) score = fmaf(u[q][d], word[d], score);
        if (score < best[q]) best[q] = score, where[q] = k;
      }
    }
#pragma unroll
    for (int q = 0; q < kSmallQueries; ++q) {
      const int64_t r = first + q * kSmallThreads;
      if (r >= p.rows) continue;
      p.index[batch * p.rows + r] = where[q];
      if (p.score) p.score[batch * p.rows + r] = best[q];
    }
  }
}

template <int G>
Status run_nearest(const NearestShape& shape, const NearestCall& call, const CudaRun& run) noexcept {
  const auto stream = static_cast<cudaStream_t>(run.stream);
  NearestParams p{call.queries,    call.book,
                  call.bias,       call.index,
                  call.score,      shape.batches,
                  shape.rows,      (shape.rows + kQueries - 1) / kQueries,
                  shape.codewords, static_cast<int>(shape.codewords)};
  if (!call.bias) {
    auto* norms = static_cast<float*>(run.workspace);
    const Status status =
        gpu::launch_norms<G>({call.book, call.metric, norms, p.codewords, 1}, call.metric ? shape.batches : 1, stream);
    if (status != Status::kOk) return status;
    p.bias = norms;
    if (!call.metric) p.bias_pitch = 0;
  }
  const int64_t sms = kernels::multiprocessors();
  if (sms == 0) return Status::kNoDevice;
  kernels::Launch how;
  if (shape.codewords <= kSmallBook) {
    p.tiles_per_batch = (shape.rows + kSmallThreads * kSmallQueries - 1) / (kSmallThreads * kSmallQueries);
    const int64_t tiles = shape.batches * p.tiles_per_batch, most = sms * 8;
    how.grid = dim3(static_cast<unsigned>(tiles < most ? tiles : most));
    how.block = dim3(kSmallThreads);
    how.shared_bytes = shape.codewords * (G + 1) * 4;
    how.stream = stream;
    return kernels::launch<nearest_small_kernel<G>>(how, p);
  }
  const int64_t tiles = shape.batches * p.tiles_per_batch;
  how.grid = dim3(static_cast<unsigned>(tiles < sms ? tiles : sms));
  how.block = dim3(gpu::kThreads);
  how.stream = stream;
  return kernels::launch<nearest_kernel<G>>(how, p);
}

}  // namespace

Status code_search_cuda_available() noexcept {
  int count = 0, major = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    cudaGetLastError();
    return Status::kNoDevice;
  }
  const int device = kernels::current_device();
  if (device < 0 || cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
      major != 9)  // built for sm_90a only
    return Status::kNoDevice;
  return Status::kOk;
}

Status nearest_cuda_supports(const NearestShape& s) noexcept {
  const bool ok = s.batches >= 1 && s.rows >= 1 && s.codewords >= 1 && s.codewords <= 65536 &&
                  (s.group_size == 4 || s.group_size == 8 || s.group_size == 16);
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

int64_t nearest_cuda_workspace_bytes(const NearestShape& shape) noexcept {
  return 4 * gpu::aligned_floats(shape.batches * shape.codewords);
}

Status nearest_cuda(const NearestShape& shape, const NearestCall& call, const CudaRun& run) noexcept {
  const Status status = nearest_cuda_supports(shape);
  if (status != Status::kOk) return status;
  switch (shape.group_size) {
    case 4:
      return run_nearest<4>(shape, call, run);
    case 8:
      return run_nearest<8>(shape, call, run);
    default:
      return run_nearest<16>(shape, call, run);
  }
}

}  // namespace aqlm_exp::code_search
