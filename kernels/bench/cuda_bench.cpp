// GPU kernels against cuBLAS fp16. Each case is a CUDA graph of launches over rotated weights (more than 4x the L2),
// each launch depending on the one before (programmatic dependent launch where the kernel knows it); time is per
// launch. Every kernel's answer is compared with its double reference first. The denominator is the faster of
// cublasGemmEx and the best of 16 cublasLt heuristics in the same run. Run as
//   kernels_cuda_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true --benchmark_out=cuda.json
#include <benchmark/benchmark.h>
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/additive_matvec/additive_cuda.h"
#include "kernels/additive_matvec/additive_matvec_ref.h"
#include "kernels/bench/cuda_bench_kernels.h"
#include "kernels/platform/half.h"
#include "kernels/scalar_matvec/scalar_cuda.h"
#include "kernels/scalar_matvec/scalar_matvec_ref.h"

namespace {

namespace am = aqlm_exp::additive_matvec;
namespace sm = aqlm_exp::scalar_matvec;
using aqlm_exp::kernels::Status;

#define CHECK(call)                                                                                   \
  do {                                                                                                \
    const auto e_ = (call);                                                                           \
    if (static_cast<int>(e_) != 0) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s: error %d\n", __FILE__, __LINE__, #call, static_cast<int>(e_)); \
      std::exit(1);                                                                                   \
    }                                                                                                 \
  } while (0)

constexpr int64_t kPoolBytes = int64_t{320} << 20;
constexpr int kLaunches = 40;

cudaStream_t g_stream;
unsigned char* g_codes;  // random bits, kPoolBytes
__half* g_weights;       // fp16 weights, 2 * kPoolBytes
__half* g_x;             // 4096 tokens x 16384
__half* g_y;             // 4096 tokens x 16384
__half* g_scales;        // 0.05 everywhere
__half* g_chunk;         // dense chunk of a prompt
cublasHandle_t g_blas;
cublasLtHandle_t g_lt;
void* g_blas_space;
constexpr size_t kBlasSpace = size_t{64} << 20;

template <typename T>
T* allocate(int64_t count) {
  void* p = nullptr;
  CHECK(cudaMalloc(&p, static_cast<size_t>(count) * sizeof(T)));
  return static_cast<T*>(p);
}
__half* random_half(int64_t n, uint32_t seed, float sigma) {
  auto* p = allocate<__half>(n);
  CHECK(aqlm_exp::bench::fill_half(p, n, seed, sigma, g_stream));
  return p;
}
std::vector<float> to_host(const __half* p, int64_t n) {
  std::vector<uint16_t> half(static_cast<size_t>(n));
  CHECK(cudaStreamSynchronize(g_stream));
  CHECK(cudaMemcpy(half.data(), p, half.size() * 2, cudaMemcpyDeviceToHost));
  std::vector<float> out;
  for (uint16_t h : half) out.push_back(aqlm_exp::kernels::half_to_float(h));
  return out;
}

/// One timed case: a graph, what it must read per launch, and how wrong its answer is.
struct Case {
  cudaGraphExec_t exec = nullptr;
  int launches = 1;
  double bytes = 0, error = 0;
  std::string refused;
};

Case capture(int launches, double bytes, double error, const std::function<void(int)>& launch) {
  Case c{nullptr, launches, bytes, error, ""};
  cudaGraph_t graph = nullptr;
  CHECK(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < launches; ++i) launch(i);
  CHECK(cudaStreamEndCapture(g_stream, &graph));
  CHECK(cudaGraphInstantiate(&c.exec, graph, 0));
  CHECK(cudaGraphDestroy(graph));
  for (int i = 0; i < 3; ++i) CHECK(cudaGraphLaunch(c.exec, g_stream));
  CHECK(cudaStreamSynchronize(g_stream));
  return c;
}

double time_graph(const Case& c) {  // us per launch
  static cudaEvent_t a = nullptr, b = nullptr;
  if (!a) {
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
  }
  CHECK(cudaEventRecord(a, g_stream));
  CHECK(cudaGraphLaunch(c.exec, g_stream));
  CHECK(cudaEventRecord(b, g_stream));
  CHECK(cudaEventSynchronize(b));
  float ms = 0;
  CHECK(cudaEventElapsedTime(&ms, a, b));
  return static_cast<double>(ms) * 1e3 / c.launches;
}

// ---- cuBLAS: y[b][o] = sum_i w[o][i] x[b][i]

class Gemm {
 public:
  Gemm(int64_t rows, int64_t inputs, int64_t batch) : m_(int(rows)), k_(int(inputs)), n_(int(batch)) {
    CHECK(cublasLtMatmulDescCreate(&desc_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    const cublasOperation_t t = CUBLAS_OP_T;
    CHECK(cublasLtMatmulDescSetAttribute(desc_, CUBLASLT_MATMUL_DESC_TRANSA, &t, sizeof t));
    CHECK(cublasLtMatrixLayoutCreate(&a_, CUDA_R_16F, k_, m_, k_));
    CHECK(cublasLtMatrixLayoutCreate(&b_, CUDA_R_16F, k_, n_, k_));
    CHECK(cublasLtMatrixLayoutCreate(&c_, CUDA_R_16F, m_, n_, m_));
    cublasLtMatmulPreference_t preference;
    CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kBlasSpace,
                                               sizeof kBlasSpace));
    algorithms_.resize(16);
    int found = 0;
    CHECK(cublasLtMatmulAlgoGetHeuristic(g_lt, desc_, a_, b_, c_, c_, preference, 16, algorithms_.data(), &found));
    algorithms_.resize(static_cast<size_t>(found));
    CHECK(cublasLtMatmulPreferenceDestroy(preference));
  }
  void plain(const __half* w, const __half* x, __half* y) const {
    const float one = 1, zero = 0;
    CHECK(cublasGemmEx(g_blas, CUBLAS_OP_T, CUBLAS_OP_N, m_, n_, k_, &one, w, CUDA_R_16F, k_, x, CUDA_R_16F, k_, &zero,
                       y, CUDA_R_16F, m_, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  }
  bool light(const __half* w, const __half* x, __half* y, size_t algorithm) const {
    const float one = 1, zero = 0;
    return cublasLtMatmul(g_lt, desc_, &one, w, a_, x, b_, &zero, y, c_, y, c_, &algorithms_[algorithm].algo,
                          g_blas_space, kBlasSpace, g_stream) == CUBLAS_STATUS_SUCCESS;
  }
  /// The algorithm that is fastest in a graph over rotated weights.
  size_t best() {
    if (best_ >= 0) return static_cast<size_t>(best_);
    double best_us = 1e30;
    const int64_t elements = int64_t{m_} * k_, copies = std::max<int64_t>(1, kPoolBytes / elements);
    for (size_t i = 0; i < algorithms_.size(); ++i) {
      if (!light(g_weights, g_x, g_y, i)) continue;
      Case c = capture(static_cast<int>(std::min<int64_t>(copies, 12)), 0, 0,
                       [&](int k) { light(g_weights + k % copies * elements, g_x, g_y, i); });
      double us = 1e30;
      for (int r = 0; r < 3; ++r) us = std::min(us, time_graph(c));
      CHECK(cudaGraphExecDestroy(c.exec));
      if (us < best_us) best_us = us, best_ = static_cast<int>(i);
    }
    return static_cast<size_t>(best_);
  }
  /// Fixes ld of y: chunks of rows of a larger output.
  void set_y_rows(int64_t rows) {
    CHECK(cublasLtMatrixLayoutDestroy(c_));
    CHECK(cublasLtMatrixLayoutCreate(&c_, CUDA_R_16F, m_, n_, static_cast<int>(rows)));
  }

 private:
  int m_, k_, n_, best_ = -1;
  cublasLtMatmulDesc_t desc_;
  cublasLtMatrixLayout_t a_, b_, c_;
  std::vector<cublasLtMatmulHeuristicResult_t> algorithms_;
};

Case dense(int64_t rows, int64_t inputs, int64_t batch, bool light) {
  const int64_t elements = rows * inputs, copies = std::max<int64_t>(2, kPoolBytes / elements);
  static std::map<std::string, std::unique_ptr<Gemm>> gemms;
  auto& gemm = gemms[std::to_string(rows) + "," + std::to_string(inputs) + "," + std::to_string(batch)];
  if (!gemm) gemm = std::make_unique<Gemm>(rows, inputs, batch);
  const size_t algorithm = light ? gemm->best() : 0;
  const int launches = static_cast<int>(batch > 64 ? 8 : std::max<int64_t>(copies, 24));
  return capture(launches, static_cast<double>(elements) * 2, 0, [&](int i) {
    const __half* w = g_weights + i % copies * elements;
    if (light)
      gemm->light(w, g_x, g_y, algorithm);
    else
      gemm->plain(w, g_x, g_y);
  });
}

Case read_floor(int64_t bytes) {
  const int64_t copies = std::max<int64_t>(2, kPoolBytes / bytes);
  return capture(kLaunches, static_cast<double>(bytes), 0,
                 [&](int i) { CHECK(aqlm_exp::bench::read_only(g_codes + i % copies * bytes, bytes, g_y, g_stream)); });
}

double relative_error(const std::vector<float>& y, const std::vector<double>& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    const double d = static_cast<double>(y[i]) - expected[i];
    error += d * d;
    size += expected[i] * expected[i];
  }
  const double relative = std::sqrt(error / size);
  return std::isnan(relative) ? INFINITY : relative;
}
constexpr int64_t kChecked = 128;  // rows compared with the double reference
std::vector<float> head_of_y(int64_t rows, int64_t batch) {
  std::vector<float> got;
  for (int64_t b = 0; b < batch; ++b) {
    const std::vector<float> part = to_host(g_y + b * rows, kChecked);
    got.insert(got.end(), part.begin(), part.end());
  }
  return got;
}

using AdditiveEntry = Status (*)(const am::AdditiveShape&, const am::AdditiveCudaCall&) noexcept;

/// The first copy of the pool holds codes whose answer is known; the others stay random.
struct AdditiveSetup {
  am::AdditiveShape shape;
  __half* books;
  int64_t bytes, copies;
  std::vector<uint16_t> codes;
};
AdditiveSetup set_up(am::AdditiveShape shape, bool packed) {
  AdditiveSetup s{shape, nullptr, 0, 0, {}};
  s.books = random_half(shape.num_codebooks * shape.codebook_size() * shape.in_group_size, 64, 0.5F);
  s.bytes = packed ? am::additive_cuda_packed_bytes(shape) : shape.num_codes() * (shape.nbits_per_codebook > 8 ? 2 : 1);
  s.copies = std::max<int64_t>(2, kPoolBytes / s.bytes);
  uint32_t state = 12345;
  s.codes.resize(static_cast<size_t>(shape.num_codes()));
  for (uint16_t& code : s.codes) {
    state = state * 1664525U + 1013904223U;
    code = static_cast<uint16_t>((state >> 10) & static_cast<uint32_t>(shape.codebook_size() - 1));
  }
  CHECK(cudaStreamSynchronize(g_stream));
  if (shape.nbits_per_codebook <= 8) {
    std::vector<uint8_t> narrow(s.codes.begin(), s.codes.end()), out = narrow;
    if (packed) {
      out.resize(static_cast<size_t>(s.bytes));
      am::additive_cuda_pack_host(shape, narrow.data(), out.data());
    }
    CHECK(cudaMemcpy(g_codes, out.data(), out.size(), cudaMemcpyHostToDevice));
  } else {
    CHECK(cudaMemcpy(g_codes, s.codes.data(), s.codes.size() * 2, cudaMemcpyHostToDevice));
  }
  return s;
}

Case additive(am::AdditiveShape shape, int64_t batch, AdditiveEntry entry, bool packed, bool programmatic) {
  const AdditiveSetup s = set_up(shape, packed);
  am::AdditiveCudaCall call;
  call.codebooks = s.books;
  call.scales = g_scales;
  call.x = g_x;
  call.y = g_y;
  call.batch = batch;
  call.stream = g_stream;
  call.codes = g_codes;
  CHECK(cudaMemsetAsync(g_y, 0xFF, static_cast<size_t>(batch * shape.out_features) * 2, g_stream));
  const Status status = entry(shape, call);
  if (status != Status::kOk) {
    Case c;
    c.refused = aqlm_exp::kernels::status_name(status);
    return c;
  }
  am::AdditiveShape head = shape;
  head.out_features = kChecked;
  std::vector<double> expected(static_cast<size_t>(batch * kChecked));
  const std::vector<float> books = to_host(s.books, shape.num_codebooks * shape.codebook_size() * shape.in_group_size);
  am::additive_matvec_ref(head, s.codes.data(), books.data(), to_host(g_scales, kChecked).data(), nullptr, nullptr,
                          to_host(g_x, batch * shape.in_features).data(), batch, expected.data());
  const double error = relative_error(head_of_y(shape.out_features, batch), expected);
  call.programmatic = programmatic;
  return capture(kLaunches, static_cast<double>(s.bytes), error, [&](int i) {
    call.codes = g_codes + i % s.copies * s.bytes;
    CHECK(entry(shape, call));
  });
}

Case fused(am::AdditiveShape shape, int count) {
  const AdditiveSetup s = set_up(shape, true);
  return capture(kLaunches, static_cast<double>(s.bytes * count), 0, [&](int i) {
    am::AdditiveCudaCall calls[am::kMaxFusedLinears];
    am::AdditiveShape shapes[am::kMaxFusedLinears];
    for (int k = 0; k < count; ++k) {
      shapes[k] = shape;
      calls[k].codes = g_codes + (i * count + k) % s.copies * s.bytes;
      calls[k].codebooks = s.books;
      calls[k].scales = g_scales;
      calls[k].x = g_x;
      calls[k].y = g_y + k * shape.out_features;
      calls[k].stream = g_stream;
      calls[k].programmatic = true;
    }
    CHECK(am::additive_lookup_cuda_f16_fused(count, shapes, calls));
  });
}

struct ScalarSetup {
  sm::ScalarShape shape;
  int64_t code_bytes, scale_bytes, copies;
  void* scales;
  __half* levels;
  std::vector<uint8_t> codes;
};
ScalarSetup set_up(sm::ScalarShape shape, bool nf4) {
  ScalarSetup s{
      shape, sm::scalar_cuda_packed_code_bytes(shape), sm::scalar_cuda_packed_scale_bytes(shape), 0, nullptr, nullptr,
      {}};
  s.copies = std::max<int64_t>(2, kPoolBytes / (s.code_bytes + s.scale_bytes));
  uint32_t state = 999;
  s.codes.resize(static_cast<size_t>(shape.out_features * shape.in_features));
  for (uint8_t& code : s.codes) {
    state = state * 1664525U + 1013904223U;
    code = static_cast<uint8_t>((state >> 10) & ((1U << shape.nbits) - 1U));
  }
  std::vector<char> packed(static_cast<size_t>(s.code_bytes)), scales(static_cast<size_t>(s.scale_bytes));
  sm::scalar_cuda_pack_codes_host(shape, s.codes.data(), nf4, packed.data());
  const auto cells = static_cast<size_t>(shape.out_features * shape.num_groups());
  const std::vector<float> scale(cells, 0.03125F), zero(cells, nf4 ? 0.F : 7.F);
  sm::scalar_cuda_pack_scales_host(shape, scale.data(), zero.data(), scales.data());
  CHECK(cudaStreamSynchronize(g_stream));
  CHECK(cudaMemcpy(g_codes, packed.data(), packed.size(), cudaMemcpyHostToDevice));
  s.scales = allocate<char>(s.scale_bytes * s.copies);
  for (int64_t i = 0; i < s.copies; ++i)
    CHECK(cudaMemcpy(static_cast<char*>(s.scales) + i * s.scale_bytes, scales.data(), scales.size(),
                     cudaMemcpyHostToDevice));
  std::vector<uint16_t> levels;
  for (float level : sm::kNf4Levels) levels.push_back(aqlm_exp::kernels::float_to_half(level));
  s.levels = allocate<__half>(16);
  CHECK(cudaMemcpy(s.levels, levels.data(), 32, cudaMemcpyHostToDevice));
  return s;
}

Case scalar(sm::ScalarShape shape, int64_t batch, bool nf4) {
  const ScalarSetup s = set_up(shape, nf4);
  sm::ScalarCudaCall call;
  call.packed_codes = g_codes;
  call.packed_scales = s.scales;
  call.levels = nf4 ? s.levels : nullptr;
  call.whole_zero_points = !nf4;  // as GPTQ and AWQ have them
  call.x = g_x;
  call.y = g_y;
  call.batch = batch;
  call.stream = g_stream;
  CHECK(sm::scalar_mma_cuda_f16(shape, call));
  sm::ScalarShape head = shape;
  head.out_features = kChecked;
  const auto cells = static_cast<size_t>(kChecked * shape.num_groups());
  const std::vector<float> scale(cells, 0.03125F), zero(cells, nf4 ? 0.F : 7.F);
  std::vector<float> levels;
  for (float level : sm::kNf4Levels)
    levels.push_back(aqlm_exp::kernels::half_to_float(aqlm_exp::kernels::float_to_half(level)));
  std::vector<double> expected(static_cast<size_t>(batch * kChecked));
  sm::scalar_matvec_ref(head, s.codes.data(), nf4 ? levels.data() : nullptr, scale.data(), zero.data(), nullptr,
                        nullptr, nullptr, to_host(g_x, batch * shape.in_features).data(), batch, expected.data());
  const double error = relative_error(head_of_y(shape.out_features, batch), expected);
  call.programmatic = true;
  return capture(kLaunches, static_cast<double>(s.code_bytes + s.scale_bytes), error, [&](int i) {
    call.packed_codes = g_codes + i % s.copies * s.code_bytes;
    call.packed_scales = static_cast<char*>(s.scales) + i % s.copies * s.scale_bytes;
    CHECK(sm::scalar_mma_cuda_f16(shape, call));
  });
}

/// A prompt of `tokens`: chunks of dense weight that stay in L2, each followed by the library GEMM.
Case prefill(int64_t rows, int64_t inputs, int64_t tokens, int64_t chunk_rows, int scheme) {
  const am::AdditiveShape a =
      scheme == 0 ? am::AdditiveShape{.out_features = rows, .in_features = inputs, .num_codebooks = 2}
                  : am::AdditiveShape{
                        .out_features = rows, .in_features = inputs, .num_codebooks = 1, .nbits_per_codebook = 16};
  const sm::ScalarShape q{.out_features = rows, .in_features = inputs, .nbits = 4, .group_size = 128};
  const AdditiveSetup s = scheme < 2 ? set_up(a, scheme == 0) : AdditiveSetup{};
  const ScalarSetup z = scheme == 2 ? set_up(q, false) : ScalarSetup{};
  const int64_t last_rows = rows % chunk_rows ? rows % chunk_rows : chunk_rows;
  Gemm whole(chunk_rows, inputs, tokens), last(last_rows, inputs, tokens);
  whole.set_y_rows(rows);
  last.set_y_rows(rows);
  const size_t algorithm = whole.best(), last_algorithm = last.best();
  return capture(8, static_cast<double>(rows * inputs) * 2, 0, [&](int i) {
    for (int64_t row = 0; row < rows; row += chunk_rows) {
      __half* chunk = g_chunk;  // one buffer, so that its lines are overwritten in L2 and never travel to memory
      const int64_t end = std::min(rows, row + chunk_rows);
      if (scheme == 2) {
        sm::ScalarCudaCall call;
        call.packed_codes = g_codes + i % z.copies * z.code_bytes;
        call.packed_scales = static_cast<char*>(z.scales) + i % z.copies * z.scale_bytes;
        call.stream = g_stream;
        CHECK(sm::scalar_dequantise_cuda_f16(q, call, row, end, chunk));
      } else {
        am::AdditiveCudaCall call;
        call.codes = g_codes + i % s.copies * s.bytes;
        call.codebooks = s.books;
        call.scales = g_scales;
        call.stream = g_stream;
        CHECK(scheme == 0 ? am::additive_dequantise_packed_cuda_f16(a, call, row, end, chunk)
                          : am::additive_dequantise_natural_cuda_f16(a, call, row, end, chunk));
      }
      if (end - row == chunk_rows)
        whole.light(chunk, g_x, g_y + row, algorithm);
      else
        last.light(chunk, g_x, g_y + row, last_algorithm);
    }
  });
}

void add(const std::string& name, std::function<Case()> make) {
  auto shared = std::make_shared<std::unique_ptr<Case>>();
  benchmark::RegisterBenchmark(
      name.c_str(),
      [make, shared](benchmark::State& state) {
        if (!*shared) *shared = std::make_unique<Case>(make());
        const Case& c = **shared;
        if (!c.exec) {
          state.SkipWithError(("refused: " + c.refused).c_str());
          return;
        }
        state.counters["relative_error"] = c.error;
        if (!(c.error < 2e-3)) {
          state.SkipWithError("the answer is wrong");
          return;
        }
        time_graph(c);
        for (auto _ : state) state.SetIterationTime(time_graph(c) * 1e-6);
        state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(c.bytes));
      })
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond)
      ->Iterations(4);
}

/// Names are "<rows>x<inputs>/b<batch>/<kernel>", as in cpu_bench.cpp.
void add_all(int64_t rows, int64_t inputs, const std::vector<int64_t>& batches) {
  const auto shape = [=](int32_t books, int32_t bits, int32_t group = 8) {
    return am::AdditiveShape{.out_features = rows,
                             .in_features = inputs,
                             .num_codebooks = books,
                             .nbits_per_codebook = bits,
                             .in_group_size = group};
  };
  for (int64_t batch : batches) {
    const std::string at = std::to_string(rows) + "x" + std::to_string(inputs) + "/b" + std::to_string(batch) + "/";
    add(at + "cublas_gemmex", [=] { return dense(rows, inputs, batch, false); });
    add(at + "cublas_lt", [=] { return dense(rows, inputs, batch, true); });
    if (batch == 1) {
      add(at + "read_2bit", [=] { return read_floor(rows * inputs / 4); });
      add(at + "read_4bit", [=] { return read_floor(rows * inputs / 2); });
      add(at + "2x8_lookup_no_pdl",
          [=] { return additive(shape(2, 8), 1, am::additive_lookup_cuda_f16, true, false); });
      add(at + "1x8_lookup", [=] { return additive(shape(1, 8), 1, am::additive_lookup_cuda_f16, true, true); });
      add(at + "8x8_lookup", [=] { return additive(shape(8, 8), 1, am::additive_lookup_cuda_f16, true, true); });
      add(at + "2x8g16_lookup", [=] { return additive(shape(2, 8, 16), 1, am::additive_lookup_cuda_f16, true, true); });
      add(at + "2x8_generic", [=] { return additive(shape(2, 8), 1, am::additive_generic_cuda_f16, false, true); });
      add(at + "3x12_generic", [=] { return additive(shape(3, 12), 1, am::additive_generic_cuda_f16, false, true); });
      add(at + "1x16_generic", [=] { return additive(shape(1, 16), 1, am::additive_generic_cuda_f16, false, true); });
      add(at + "1x16g16_gather",
          [=] { return additive(shape(1, 16, 16), 1, am::additive_gather_cuda_f16, false, true); });
      for (int32_t bits : {12, 13, 14})
        add(at + "1x" + std::to_string(bits) + "_gather",
            [=] { return additive(shape(1, bits), 1, am::additive_gather_cuda_f16, false, true); });
      add(at + "2x8_lookup_fused3", [=] { return fused(shape(2, 8), 3); });
      add(at + "nf4g64", [=] { return scalar({rows, inputs, 4, 64}, 1, true); });
    }
    if (batch <= 2) {
      add(at + "2x8_lookup", [=] { return additive(shape(2, 8), batch, am::additive_lookup_cuda_f16, true, true); });
      add(at + "4x8_lookup", [=] { return additive(shape(4, 8), batch, am::additive_lookup_cuda_f16, true, true); });
    }
    for (int32_t books : {1, 2, 4})
      if (books != 1 || batch <= 4)
        add(at + std::to_string(books) + "x8_mma",
            [=] { return additive(shape(books, 8), batch, am::additive_mma_cuda_f16, true, true); });
    add(at + "1x16_gather", [=] { return additive(shape(1, 16), batch, am::additive_gather_cuda_f16, false, true); });
    for (int32_t bits : {4, 3, 2})
      add(at + "int" + std::to_string(bits) + "g128", [=] { return scalar({rows, inputs, bits, 128}, batch, false); });
  }
}

void add_prefill(int64_t rows, int64_t inputs) {
  const std::string at = std::to_string(rows) + "x" + std::to_string(inputs) + "/b2048/";
  add(at + "cublas_gemmex", [=] { return dense(rows, inputs, 2048, false); });
  add(at + "cublas_lt", [=] { return dense(rows, inputs, 2048, true); });
  for (int64_t chunk : {2048, 4096}) {
    add(at + "2x8_chunk" + std::to_string(chunk), [=] { return prefill(rows, inputs, 2048, chunk, 0); });
    add(at + "1x16_chunk" + std::to_string(chunk), [=] { return prefill(rows, inputs, 2048, chunk, 1); });
    add(at + "int4g128_chunk" + std::to_string(chunk), [=] { return prefill(rows, inputs, 2048, chunk, 2); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  CHECK(cudaStreamCreate(&g_stream));
  CHECK(cublasCreate(&g_blas));
  CHECK(cublasLtCreate(&g_lt));
  g_blas_space = allocate<char>(kBlasSpace);
  CHECK(cublasSetStream(g_blas, g_stream));
  CHECK(cublasSetWorkspace(g_blas, g_blas_space, kBlasSpace));
  g_codes = allocate<unsigned char>(kPoolBytes + (int64_t{64} << 20));
  CHECK(aqlm_exp::bench::fill_bits(g_codes, kPoolBytes, 7, g_stream));
  g_weights = random_half(kPoolBytes, 62, 0.02F);
  g_x = random_half(int64_t{4096} * 16384, 63, 1);
  g_y = allocate<__half>(int64_t{4096} * 16384);
  g_chunk = allocate<__half>(int64_t{2} * 4096 * 14336);
  const std::vector<uint16_t> scales(65536, aqlm_exp::kernels::float_to_half(0.05F));
  g_scales = allocate<__half>(65536);
  CHECK(cudaMemcpy(g_scales, scales.data(), scales.size() * 2, cudaMemcpyHostToDevice));
  cudaDeviceProp properties{};
  CHECK(cudaGetDeviceProperties(&properties, 0));
  int driver = 0, clock = 0, memory_clock = 0;
  CHECK(cudaDriverGetVersion(&driver));
  CHECK(cudaDeviceGetAttribute(&clock, cudaDevAttrClockRate, 0));
  CHECK(cudaDeviceGetAttribute(&memory_clock, cudaDevAttrMemoryClockRate, 0));
  benchmark::AddCustomContext("gpu", properties.name);
  benchmark::AddCustomContext("sm_clock_khz", std::to_string(clock));
  benchmark::AddCustomContext("memory_clock_khz", std::to_string(memory_clock));
  benchmark::AddCustomContext("cuda_driver", std::to_string(driver));
  const char* commit = std::getenv("AQLM_EXP_COMMIT");
  if (commit) benchmark::AddCustomContext("commit", commit);

  add_all(14336, 4096, {1, 2, 4, 8, 16, 32, 64});
  add_all(4096, 4096, {1, 4, 16});
  add_all(4096, 14336, {1, 4, 16});
  add_all(4096, 11008, {1});
  add_all(11008, 4096, {1});
  add_all(8192, 8192, {1, 16});
  add_prefill(14336, 4096);
  add_prefill(4096, 4096);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
