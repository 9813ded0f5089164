// CPU kernels against libtorch's dense linears. Every kernel's answer is compared with its double reference before it
// is timed; weights rotate over buffers beyond the last-level cache, so that each call reads DRAM. Run as
//   kernels_cpu_bench --benchmark_repetitions=7 --benchmark_enable_random_interleaving=true --benchmark_out=cpu.json
// with AQLM_EXP_BENCH_THREADS (default 2), AQLM_EXP_BENCH_ROTATE_MIB (default 128) and AQLM_EXP_BENCH_HUGE_PAGES
// (default 1: weights of all, the rivals' too, lie in 2 MiB pages where the system grants them; 0: in 4 KiB pages).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/additive_matvec/additive_generic_cpu.h"
#include "kernels/additive_matvec/additive_lut_cpu.h"
#include "kernels/additive_matvec/additive_matvec_ref.h"
#include "kernels/platform/huge_pages.h"
#include "kernels/scalar_matvec/scalar_cpu.h"
#include "kernels/scalar_matvec/scalar_matvec_ref.h"

namespace {

using aqlm_exp::additive_matvec::AdditiveShape;
using aqlm_exp::kernels::CpuIsa;
using aqlm_exp::scalar_matvec::ScalarShape;

int from_environment(const char* name, int fallback) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : fallback;
}
const int kThreads = from_environment("AQLM_EXP_BENCH_THREADS", 2);
const int64_t kRotateBytes = int64_t{from_environment("AQLM_EXP_BENCH_ROTATE_MIB", 128)} << 20;

const bool kHugePages = from_environment("AQLM_EXP_BENCH_HUGE_PAGES", 1) != 0;

class Bytes {  // 64-byte aligned
 public:
  explicit Bytes(int64_t size) : data_(std::aligned_alloc(64, static_cast<size_t>((size + 63) / 64 * 64)), std::free) {
    if (kHugePages) aqlm_exp::kernels::prefer_huge_pages(data_.get(), size);
  }
  template <typename T = void>
  T* as() const {
    return static_cast<T*>(data_.get());
  }

 private:
  std::unique_ptr<void, void (*)(void*)> data_;
};

std::vector<float> normal(int64_t n, float sigma, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(0, sigma);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& value : v) value = draw(engine);
  return v;
}
void random_bytes(void* p, int64_t size, uint64_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  auto* out = static_cast<unsigned char*>(p);
  for (int64_t i = 0; i + 8 <= size; i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(out + i, &state, 8);
  }
}

/// Weights of all cases rotate over the same pools: repetitions are interleaved, so a case cannot keep its own.
struct Pools {
  static constexpr int64_t kSlack = int64_t{512} << 20;
  Bytes bits, floats, halves;  // any bits are valid codes; fp32 and bf16 weights in [-0.02, 0.02)
  Pools() : bits(kRotateBytes + kSlack), floats(kRotateBytes + kSlack), halves(kRotateBytes + kSlack) {
    random_bytes(bits.as(), kRotateBytes + kSlack, 6);
    const int64_t n = (kRotateBytes + kSlack) / 4;
    for (int64_t i = 0; i < n; ++i)
      floats.as<float>()[i] =
          (static_cast<float>(bits.as<uint32_t>()[i % (int64_t{4} << 20)] >> 8) / 16777216.0F - 0.5F) * 0.04F;
    for (int64_t i = 0; i < 2 * n; ++i)
      halves.as<uint16_t>()[i] = static_cast<uint16_t>(floats.as<uint32_t>()[i % (int64_t{4} << 20)] >> 16);
  }
};
const Pools& pools() {
  static const Pools instance;
  return instance;
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

/// Times `call(copy)` with copies in turn. `bytes` is what one call must read.
void time_calls(benchmark::State& state, int64_t copies, int64_t bytes, double error,
                const std::function<void(int64_t)>& call) {
  state.counters["relative_error"] = error;
  if (!(error < 0.02)) {
    state.SkipWithError("the answer is wrong");
    return;
  }
  int64_t i = 0;
  for (int64_t k = 0; k < std::min<int64_t>(copies, 3); ++k) call(k);
  for (auto _ : state) call(i++ % copies);
  state.SetBytesProcessed(state.iterations() * bytes);
}
int64_t copies_of(int64_t bytes) { return std::max<int64_t>(2, (kRotateBytes + bytes - 1) / bytes); }

void dense(benchmark::State& state, int64_t rows, int64_t inputs, int64_t batch, at::ScalarType type) {
  const int64_t bytes = rows * inputs * (type == at::kFloat ? 4 : 2);
  const Bytes& pool = type == at::kFloat ? pools().floats : pools().halves;
  std::vector<at::Tensor> weights;
  for (int64_t i = 0; i < copies_of(bytes); ++i)
    weights.push_back(at::from_blob(pool.as<char>() + i * bytes, {rows, inputs}, at::TensorOptions().dtype(type)));
  const at::Tensor x = at::randn({batch, inputs}).to(type);
  time_calls(state, static_cast<int64_t>(weights.size()), bytes, 0,
             [&](int64_t i) { benchmark::DoNotOptimize(at::linear(x, weights[static_cast<size_t>(i)])); });
}

void additive(benchmark::State& state, AdditiveShape shape, int64_t batch, CpuIsa isa) {
  namespace am = aqlm_exp::additive_matvec;
  if (aqlm_exp::kernels::usable_cpu_isa(isa) != isa) {
    state.SkipWithError("this CPU lacks the level");
    return;
  }
  const std::vector<float> books = normal(shape.num_codebooks * shape.codebook_size() * shape.in_group_size, 0.5F, 1);
  const std::vector<float> scales = normal(shape.out_features, 0.05F, 2), x = normal(batch * shape.in_features, 1, 3);
  std::vector<float> y(static_cast<size_t>(batch * shape.out_features));
  const Bytes packed_books(am::additive_lut_cpu_packed_codebook_floats(shape) * 4);
  am::additive_lut_cpu_pack_codebooks(shape, books.data(), packed_books.as<float>());
  const int64_t code_bytes = am::additive_lut_cpu_packed_code_bytes(shape), copies = copies_of(code_bytes);
  const Bytes known(code_bytes);  // codes whose answer is checked; the rotated ones are random
  const Bytes workspace(am::additive_lut_cpu_workspace_bytes(shape, batch, kThreads, isa));
  std::vector<uint8_t> natural(static_cast<size_t>(shape.num_codes()));
  random_bytes(natural.data(), shape.num_codes(), 5);
  am::additive_lut_cpu_pack_codes(shape, natural.data(), known.as<uint8_t>());
  am::AdditiveLutCpuCall call;
  call.packed_codebooks = packed_books.as<float>();
  call.scales = scales.data();
  call.x = x.data();
  call.y = y.data();
  call.batch = batch;
  call.workspace = workspace.as();
  call.threads = kThreads;
  call.isa = isa;
  const auto run = [&](int64_t i) {
    call.packed_codes = pools().bits.as<uint8_t>() + i * code_bytes;
    am::additive_lut_cpu(shape, call);
  };
  call.packed_codes = known.as<uint8_t>();
  am::additive_lut_cpu(shape, call);
  // Checked on the first 256 rows: the double reference is slow.
  AdditiveShape head = shape;
  head.out_features = 256;
  std::vector<uint16_t> wide(natural.begin(), natural.begin() + head.num_codes());
  std::vector<double> expected(static_cast<size_t>(batch * 256));
  am::additive_matvec_ref(head, wide.data(), books.data(), scales.data(), nullptr, nullptr, x.data(), batch,
                          expected.data());
  std::vector<float> got;
  for (int64_t b = 0; b < batch; ++b)
    got.insert(got.end(), y.begin() + b * shape.out_features, y.begin() + b * shape.out_features + 256);
  time_calls(state, copies, code_bytes, relative_error(got, expected), run);
}

void generic(benchmark::State& state, AdditiveShape shape, int64_t batch) {
  namespace am = aqlm_exp::additive_matvec;
  const std::vector<float> books = normal(shape.num_codebooks * shape.codebook_size() * shape.in_group_size, 0.5F, 1);
  const std::vector<float> scales = normal(shape.out_features, 0.05F, 2), x = normal(batch * shape.in_features, 1, 3);
  std::vector<float> y(static_cast<size_t>(batch * shape.out_features));
  const int64_t code_bytes = shape.num_codes() * (shape.nbits_per_codebook > 8 ? 2 : 1), copies = copies_of(code_bytes);
  am::AdditiveGenericCpuCall call;
  call.codebooks = books.data();
  call.scales = scales.data();
  call.x = x.data();
  call.y = y.data();
  call.batch = batch;
  call.threads = kThreads;
  time_calls(state, copies, code_bytes, 0, [&](int64_t i) {
    call.codes = pools().bits.as<uint8_t>() + i * code_bytes;
    am::additive_generic_cpu(shape, call);
  });
}

void scalar(benchmark::State& state, ScalarShape shape, int64_t batch, CpuIsa isa, bool nf4) {
  namespace sm = aqlm_exp::scalar_matvec;
  if (aqlm_exp::kernels::usable_cpu_isa(isa) != isa) {
    state.SkipWithError("this CPU lacks the level");
    return;
  }
  const int64_t cells = shape.out_features * shape.num_groups();
  std::vector<uint8_t> natural(static_cast<size_t>(shape.out_features * shape.in_features));
  random_bytes(natural.data(), static_cast<int64_t>(natural.size()), 5);
  for (uint8_t& code : natural) code = static_cast<uint8_t>(code & ((1 << shape.nbits) - 1));
  const std::vector<float> scales(static_cast<size_t>(cells), 0.03125F), x = normal(batch * shape.in_features, 1, 3);
  const std::vector<float> zeros(static_cast<size_t>(cells), nf4 ? 0.0F : 1.5F);
  std::vector<float> y(static_cast<size_t>(batch * shape.out_features));
  const int64_t code_bytes = sm::scalar_cpu_packed_code_bytes(shape),
                scale_bytes = sm::scalar_cpu_packed_scale_bytes(shape);
  const int64_t copies = copies_of(code_bytes + scale_bytes);
  const Bytes known(code_bytes), packed_scales(scale_bytes * copies);
  const Bytes workspace(sm::scalar_cpu_workspace_bytes(shape, batch));
  sm::scalar_cpu_pack_codes(shape, natural.data(), known.as());
  sm::scalar_cpu_pack_scales(shape, scales.data(), zeros.data(), packed_scales.as());
  for (int64_t i = 1; i < copies; ++i)
    std::memcpy(packed_scales.as<char>() + i * scale_bytes, packed_scales.as(), static_cast<size_t>(scale_bytes));
  sm::ScalarCpuCall call;
  call.levels = nf4 ? sm::kNf4Levels : nullptr;
  call.x = x.data();
  call.y = y.data();
  call.batch = batch;
  call.workspace = workspace.as();
  call.threads = kThreads;
  call.isa = isa;
  const auto run = [&](int64_t i) {
    call.packed_codes = pools().bits.as<char>() + i * code_bytes;
    call.packed_scales = packed_scales.as<char>() + i * scale_bytes;
    sm::scalar_cpu(shape, call);
  };
  call.packed_codes = known.as();
  call.packed_scales = packed_scales.as();
  sm::scalar_cpu(shape, call);
  ScalarShape head = shape;
  head.out_features = 256;
  std::vector<double> expected(static_cast<size_t>(batch * 256));
  sm::scalar_matvec_ref(head, natural.data(), call.levels, scales.data(), zeros.data(), nullptr, nullptr, nullptr,
                        x.data(), batch, expected.data());
  std::vector<float> got;
  for (int64_t b = 0; b < batch; ++b)
    got.insert(got.end(), y.begin() + b * shape.out_features, y.begin() + b * shape.out_features + 256);
  time_calls(state, copies, code_bytes + scale_bytes, relative_error(got, expected), run);
}

void add(const std::string& name, std::function<void(benchmark::State&)> body) {
  benchmark::RegisterBenchmark(name.c_str(), [body](benchmark::State& state) { body(state); })
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond)
      ->MinTime(0.02);
}

/// Names are "<rows>x<inputs>/b<batch>/<kernel>"; table.py groups by the first two and divides by the fastest fp32.
void add_all(int64_t rows, int64_t inputs, int64_t batch) {
  const std::string at = std::to_string(rows) + "x" + std::to_string(inputs) + "/b" + std::to_string(batch) + "/";
  add(at + "dense_fp32", [=](auto& s) { dense(s, rows, inputs, batch, at::kFloat); });
  add(at + "dense_bf16", [=](auto& s) { dense(s, rows, inputs, batch, at::kBFloat16); });
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512, CpuIsa::kAvx512Vbmi}) {
    const std::string level = aqlm_exp::kernels::cpu_isa_name(isa);
    for (int32_t m : {1, 2, 4, 8})
      if (m == 2 || m == 4 || batch == 1)
        add(at + std::to_string(m) + "x8_lut_" + level, [=](auto& s) {
          additive(s, {.out_features = rows, .in_features = inputs, .num_codebooks = m}, batch, isa);
        });
    if (isa == CpuIsa::kAvx512Vbmi) continue;  // the scalar formats have no level of their own there
    for (int32_t bits : {4, 3, 2})
      add(at + "int" + std::to_string(bits) + "g128_" + level, [=](auto& s) {
        scalar(s, {.out_features = rows, .in_features = inputs, .nbits = bits, .group_size = 128}, batch, isa, false);
      });
    if (batch == 1)
      add(at + "nf4g64_" + level, [=](auto& s) {
        scalar(s, {.out_features = rows, .in_features = inputs, .nbits = 4, .group_size = 64}, batch, isa, true);
      });
  }
  if (batch == 1)
    for (int32_t bits : {12, 16})
      add(at + "1x" + std::to_string(bits) + "_generic", [=](auto& s) {
        generic(s, {.out_features = rows, .in_features = inputs, .num_codebooks = 1, .nbits_per_codebook = bits},
                batch);
      });
}

}  // namespace

int main(int argc, char** argv) {
  at::set_num_threads(kThreads);
  pools();
  for (int64_t batch : {1, 4, 16}) add_all(4096, 4096, batch);
  add_all(14336, 4096, 1);
  benchmark::AddCustomContext("threads", std::to_string(kThreads));
  benchmark::AddCustomContext("cpu_level", aqlm_exp::kernels::cpu_isa_name(aqlm_exp::kernels::best_cpu_isa()));
  benchmark::AddCustomContext("rotated_bytes", std::to_string(kRotateBytes));
  benchmark::AddCustomContext("huge_pages", kHugePages ? "asked for" : "no");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
