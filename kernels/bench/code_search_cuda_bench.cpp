// Code search on the GPU: whole sweeps and passes. Before timing, eight rows are searched on the CPU as well and their
// losses (or scores) compared: rows are independent. Counters: `scores` a second, `share` of the bound that the
// kernel's arithmetic sets (64 minima or 128 multiply-adds a clock and multiprocessor, at the clock the driver names).
//   kernels_code_search_cuda_bench --benchmark_repetitions=5
#include <benchmark/benchmark.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/code_search_cuda.h"

namespace {

using aqlm_exp::kernels::CpuIsa;
using aqlm_exp::kernels::Status;
using namespace aqlm_exp::code_search;

std::vector<float> normal(int64_t n, float sigma, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> draw(0, sigma);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = draw(engine);
  return v;
}
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

template <typename T>
class Device {
 public:
  explicit Device(size_t count) : count_(count) { cudaMalloc(&data_, count * sizeof(T)); }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    cudaMemcpy(data_, host.data(), count_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { cudaFree(data_); }
  T* get() const { return static_cast<T*>(data_); }
  std::vector<T> read() const {
    std::vector<T> host(count_);
    cudaMemcpy(host.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return host;
  }

 private:
  void* data_ = nullptr;
  size_t count_;
};

struct Card {
  double sms = 0, hertz = 0;
  std::string name;
  Card() {
    int count = 0, kilohertz = 0;
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return;
    name = properties.name;
    cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, 0);
    cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0);
    sms = count, hertz = kilohertz * 1e3;
  }
};
const Card& card() {
  static const Card instance;
  return instance;
}

template <typename Call>
void time_call(benchmark::State& state, double scores, double per_clock, Call&& call) {
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  call();
  cudaDeviceSynchronize();
  double best = 1e30;
  for (auto _ : state) {
    cudaEventRecord(begin);
    call();
    cudaEventRecord(end);
    cudaEventSynchronize(end);
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    state.SetIterationTime(static_cast<double>(ms) * 1e-3);
    best = std::min(best, static_cast<double>(ms) * 1e-3);
  }
  if (cudaGetLastError() != cudaSuccess) state.SkipWithError("the GPU reports an error");
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  state.counters["scores"] = scores / best;
  state.counters["share"] = scores / best / (per_clock * card().sms * card().hertz);
}

constexpr int64_t kChecked = 8;  // rows searched on the CPU as well

void sweep(benchmark::State& state, SweepShape shape, SweepKind kind, SweepSearch search) {
  const int64_t inputs = shape.in_features();
  const std::vector<float> weight = normal(shape.rows * inputs, 1, 1),
                           feedback = normal(inputs * inputs, 0.3F / std::sqrt(static_cast<float>(inputs)), 2),
                           metric = metrics(shape.groups, shape.group_size),
                           books = normal(shape.num_codebooks * shape.codewords() * shape.group_size, 0.7F, 4),
                           scales(static_cast<size_t>(shape.rows), 1.0F);
  std::vector<int32_t> codes(static_cast<size_t>(shape.rows * shape.groups * shape.num_codebooks));
  SweepCall call;
  call.kind = kind, call.search = search;
  SweepShape few = shape;
  few.rows = std::min(kChecked, shape.rows);
  std::vector<float> want(static_cast<size_t>(few.rows));
  std::vector<int32_t> few_codes(codes);
  {
    SweepCall check = call;
    check.target = weight.data(), check.feedback = feedback.data(), check.metric = metric.data();
    check.scales = scales.data(), check.codebooks = books.data(), check.codes = few_codes.data(),
    check.loss = want.data();
    const std::unique_ptr<void, void (*)(void*)> scratch(
        std::aligned_alloc(64, static_cast<size_t>((sweep_cpu_workspace_bytes(few, search, 2) + 63) / 64 * 64)),
        std::free);
    sweep_cpu(few, check, {2, CpuIsa::kBest, scratch.get()});
  }
  const Device<float> d_weight(weight), d_feedback(feedback), d_metric(metric), d_books(books), d_scales(scales),
      d_loss(static_cast<size_t>(shape.rows));
  const Device<int32_t> d_codes(codes);
  const Device<char> scratch(static_cast<size_t>(sweep_cuda_workspace_bytes(shape, search)));
  call.target = d_weight.get(), call.feedback = d_feedback.get(), call.metric = d_metric.get();
  call.scales = d_scales.get(), call.codebooks = d_books.get(), call.codes = d_codes.get(), call.loss = d_loss.get();
  if (sweep_cuda(shape, call, {scratch.get(), nullptr}) != Status::kOk) return state.SkipWithError("refused");
  cudaDeviceSynchronize();
  const std::vector<float> got = d_loss.read();
  // Where two codes are within rounding, CPU and GPU part for the rest of a row: the losses agree on average only.
  double sum = 0, expected = 0;
  for (size_t r = 0; r < want.size(); ++r) sum += static_cast<double>(got[r]), expected += static_cast<double>(want[r]);
  state.counters["loss_ratio"] = sum / expected;
  if (!(std::abs(sum / expected - 1) < 0.03)) return state.SkipWithError("the answer is wrong");
  const bool pairs = search == SweepSearch::kExact && shape.num_codebooks == 2;
  const double list = pairs ? static_cast<double>(shape.codewords() * shape.codewords())
                            : static_cast<double>(shape.codewords() * shape.num_codebooks);
  time_call(state, list * static_cast<double>(shape.rows * shape.groups), pairs ? 64 : 128.0 / (shape.group_size + 1),
            [&] {
              sweep_cuda(shape, call, {scratch.get(), nullptr});
            });
}

void nearest(benchmark::State& state, NearestShape shape, bool with_metric) {
  const std::vector<float> queries = normal(shape.batches * shape.rows * shape.group_size, 1, 1),
                           book = normal(shape.codewords * shape.group_size, 1, 2),
                           metric = metrics(with_metric ? shape.batches : 1, shape.group_size);
  NearestShape few = shape;
  few.batches = 1, few.rows = std::min(kChecked, shape.rows);
  std::vector<int32_t> index(static_cast<size_t>(few.rows));
  std::vector<float> want(static_cast<size_t>(few.rows));
  NearestCall call;
  {
    NearestCall check;
    check.queries = queries.data(), check.book = book.data(), check.metric = with_metric ? metric.data() : nullptr;
    check.index = index.data(), check.score = want.data();
    const std::unique_ptr<void, void (*)(void*)> scratch(
        std::aligned_alloc(64, static_cast<size_t>((nearest_cpu_workspace_bytes(few, 2) + 63) / 64 * 64)), std::free);
    nearest_cpu(few, check, {2, CpuIsa::kBest, scratch.get()});
  }
  const Device<float> d_queries(queries), d_book(book), d_metric(metric),
      d_score(static_cast<size_t>(shape.batches * shape.rows));
  const Device<int32_t> d_index(static_cast<size_t>(shape.batches * shape.rows));
  const Device<char> scratch(static_cast<size_t>(nearest_cuda_workspace_bytes(shape)));
  call.queries = d_queries.get(), call.book = d_book.get(), call.metric = with_metric ? d_metric.get() : nullptr;
  call.index = d_index.get(), call.score = d_score.get();
  if (nearest_cuda(shape, call, {scratch.get(), nullptr}) != Status::kOk) return state.SkipWithError("refused");
  cudaDeviceSynchronize();
  const std::vector<float> got = d_score.read();
  for (size_t r = 0; r < want.size(); ++r)
    if (!(std::abs(got[r] - want[r]) <= 1e-4F * (std::abs(want[r]) + 1)))
      return state.SkipWithError("the answer is wrong");
  time_call(state, static_cast<double>(shape.codewords * shape.batches * shape.rows), 128.0 / (shape.group_size + 1),
            [&] {
              nearest_cuda(shape, call, {scratch.get(), nullptr});
            });
}

template <typename Function>
void add(const std::string& name, Function function) {
  benchmark::RegisterBenchmark(name.c_str(), function)->UseManualTime()->Unit(benchmark::kMillisecond)->MinTime(0.15);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (code_search_cuda_available() != Status::kOk) {
    std::fprintf(stderr, "no GPU of compute capability 9.0\n");
    return 1;
  }
  benchmark::AddCustomContext("card", card().name);
  benchmark::AddCustomContext("megahertz", std::to_string(card().hertz / 1e6));
  constexpr SweepKind kFeedback = SweepKind::kErrorFeedback, kDescent = SweepKind::kCoordinateDescent;
  constexpr SweepSearch kExact = SweepSearch::kExact, kOneBook = SweepSearch::kOneBook;
  const auto one = [](const std::string& name, SweepShape shape, SweepKind kind, SweepSearch search) {
    add(name, [=](benchmark::State& state) { sweep(state, shape, kind, search); });
  };
  one("feedback_2x8/4096x4096", {4096, 512, 8, 2, 8}, kFeedback, kExact);
  one("descent_2x8/4096x4096", {4096, 512, 8, 2, 8}, kDescent, kExact);
  one("descent_2x8_one_book/4096x4096", {4096, 512, 8, 2, 8}, kDescent, kOneBook);
  one("feedback_1x16/4096x4096", {4096, 512, 8, 1, 16}, kFeedback, kExact);
  one("feedback_2x8/384x384", {384, 48, 8, 2, 8}, kFeedback, kExact);
  one("feedback_2x8/1152x384", {1152, 48, 8, 2, 8}, kFeedback, kExact);
  one("feedback_2x8/384x1152", {384, 144, 8, 2, 8}, kFeedback, kExact);
  one("feedback_2x8/96x384", {96, 48, 8, 2, 8}, kFeedback, kExact);
  one("feedback_2x8/11008x4096", {11008, 512, 8, 2, 8}, kFeedback, kExact);
  const auto book = [](const std::string& name, NearestShape shape, bool with_metric) {
    add(name, [=](benchmark::State& state) { nearest(state, shape, with_metric); });
  };
  book("nearest_65536_metric/512x4096", {512, 4096, 65536, 8}, true);
  book("nearest_256_metric/512x4096", {512, 4096, 256, 8}, true);
  book("nearest_256/1x2097152", {1, 2097152, 256, 8}, false);
  book("nearest_256_metric/48x384", {48, 384, 256, 8}, true);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
