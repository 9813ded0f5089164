// Code search on the CPU: whole sweeps and passes of the shapes that a quantiser meets. Counters: scores a second (one
// score = one codeword, or pair, tried for one group of one row), and for sweeps the seconds a layer of that size
// takes. AQLM_EXP_BENCH_THREADS (default 2). The counter "loss" must agree between levels.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/code_search/code_search_cpu.h"

namespace {

using aqlm_exp::kernels::CpuIsa;
using aqlm_exp::kernels::Status;
using namespace aqlm_exp::code_search;

int threads() {
  const char* text = std::getenv("AQLM_EXP_BENCH_THREADS");
  return text ? std::atoi(text) : 2;
}
std::vector<float> normal(int64_t n, float sigma, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(0, sigma);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = draw(engine);
  return v;
}
std::shared_ptr<void> workspace(int64_t bytes) {
  return {std::aligned_alloc(64, static_cast<size_t>((bytes + 63) / 64 * 64)), std::free};
}
/// Blocks A A^T / g + 0.3.
std::vector<float> metrics(int64_t groups, int64_t g) {
  const std::vector<float> a = normal(groups * g * g, 1, 3);
  std::vector<float> m(a.size());
  for (int64_t j = 0; j < groups; ++j)
    for (int64_t x = 0; x < g; ++x)
      for (int64_t y = 0; y < g; ++y) {
        float sum = x == y ? 0.3F : 0;
        for (int64_t k = 0; k < g; ++k)
          sum += a[static_cast<size_t>((j * g + x) * g + k)] * a[static_cast<size_t>((j * g + y) * g + k)] /
                 static_cast<float>(g);
        m[static_cast<size_t>((j * g + x) * g + y)] = sum;
      }
  return m;
}

void sweep(benchmark::State& state, SweepShape shape, SweepKind kind, SweepSearch search, CpuIsa isa) {
  const int64_t inputs = shape.in_features();
  const std::vector<float> weight = normal(shape.rows * inputs, 1, 1),
                           feedback = normal(inputs * inputs, 0.3F / std::sqrt(static_cast<float>(inputs)), 2),
                           metric = metrics(shape.groups, shape.group_size),
                           books = normal(shape.num_codebooks * shape.codewords() * shape.group_size, 0.7F, 4),
                           scales(static_cast<size_t>(shape.rows), 1.0F);
  std::vector<int32_t> codes(static_cast<size_t>(shape.rows * shape.groups * shape.num_codebooks));
  std::vector<float> loss(static_cast<size_t>(shape.rows));
  SweepCall call;
  call.kind = kind, call.search = search;
  call.target = weight.data(), call.feedback = feedback.data(), call.metric = metric.data();
  call.scales = scales.data(), call.codebooks = books.data(), call.codes = codes.data(), call.loss = loss.data();
  const auto scratch = workspace(sweep_cpu_workspace_bytes(shape, search, threads()));
  const CpuRun run{threads(), isa, scratch.get()};
  for (auto _ : state)
    if (sweep_cpu(shape, call, run) != Status::kOk) state.SkipWithError("refused");
  double total = 0;
  for (float x : loss) total += static_cast<double>(x);
  state.counters["loss"] = total;
  const double list = std::pow(static_cast<double>(shape.codewords()),
                               search == SweepSearch::kExact ? static_cast<double>(shape.num_codebooks) : 1.0);
  state.counters["scores"] = benchmark::Counter(list * static_cast<double>(shape.rows * shape.groups),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void nearest(benchmark::State& state, NearestShape shape, CpuIsa isa) {
  const std::vector<float> queries = normal(shape.batches * shape.rows * shape.group_size, 1, 1),
                           book = normal(shape.codewords * shape.group_size, 1, 2),
                           metric = metrics(shape.batches, shape.group_size);
  std::vector<int32_t> index(static_cast<size_t>(shape.batches * shape.rows));
  NearestCall call;
  call.queries = queries.data(), call.book = book.data(), call.metric = metric.data(), call.index = index.data();
  const auto scratch = workspace(nearest_cpu_workspace_bytes(shape, threads()));
  const CpuRun run{threads(), isa, scratch.get()};
  for (auto _ : state)
    if (nearest_cpu(shape, call, run) != Status::kOk) state.SkipWithError("refused");
  state.counters["scores"] = benchmark::Counter(static_cast<double>(shape.codewords * shape.batches * shape.rows),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void add(CpuIsa isa) {
  const std::string level = aqlm_exp::kernels::cpu_isa_name(isa);
  const auto one = [&](const std::string& name, SweepShape shape, SweepKind kind, SweepSearch search) {
    benchmark::RegisterBenchmark((name + "/" + level).c_str(),
                                 [=](benchmark::State& state) { sweep(state, shape, kind, search, isa); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime()
        ->MeasureProcessCPUTime();
  };
  const auto book = [&](const std::string& name, NearestShape shape) {
    benchmark::RegisterBenchmark((name + "/" + level).c_str(),
                                 [=](benchmark::State& state) { nearest(state, shape, isa); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime()
        ->MeasureProcessCPUTime();
  };
  constexpr SweepKind kFeedback = SweepKind::kErrorFeedback, kDescent = SweepKind::kCoordinateDescent;
  one("feedback_2x8_exact/384x384", {384, 48, 8, 2, 8}, kFeedback, SweepSearch::kExact);
  one("descent_2x8_exact/384x384", {384, 48, 8, 2, 8}, kDescent, SweepSearch::kExact);
  one("feedback_2x8_stages16/384x384", {384, 48, 8, 2, 8}, kFeedback, SweepSearch::kStages);
  one("descent_2x8_one_book/384x384", {384, 48, 8, 2, 8}, kDescent, SweepSearch::kOneBook);
  one("feedback_2x8_exact/4096x4096", {4096, 512, 8, 2, 8}, kFeedback, SweepSearch::kExact);
  one("feedback_1x16/256x512", {256, 64, 8, 1, 16}, kFeedback, SweepSearch::kExact);
  book("nearest_256/48x384", {48, 384, 256, 8});
  book("nearest_65536/8x256", {8, 256, 65536, 8});
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("threads", std::to_string(threads()));
  for (CpuIsa isa : {CpuIsa::kPortable, CpuIsa::kAvx2, CpuIsa::kAvx512})
    if (aqlm_exp::kernels::usable_cpu_isa(isa) == isa) add(isa);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
