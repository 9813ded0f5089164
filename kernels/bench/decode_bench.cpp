// A whole decoding step, and its parts, as CUDA graphs with random fp16 weights of a model's shape: tokens per second
// beside the time that reading the weights once takes at the datasheet's and at the measured bandwidth. Run as
//   kernels_decode_bench --benchmark_repetitions=5 --benchmark_out=decode.json
#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/bench/cuda_bench_kernels.h"
#include "kernels/decode/decode_cuda.h"

namespace {

namespace dec = aqlm_exp::decode;
using aqlm_exp::kernels::Status;

#define CHECK(call)                                                                                   \
  do {                                                                                                \
    const auto e_ = (call);                                                                           \
    if (static_cast<int>(e_) != 0) {                                                                  \
      std::fprintf(stderr, "%s:%d: %s: error %d\n", __FILE__, __LINE__, #call, static_cast<int>(e_)); \
      std::exit(1);                                                                                   \
    }                                                                                                 \
  } while (0)

constexpr double kDatasheetBytesPerS = 4.8e12;  // H200
cudaStream_t g_stream;

struct Shape {
  const char* name;
  int64_t hidden, inter, layers, heads, kv_heads, head_dim, vocab;
};
const Shape kShapes[] = {{"qwen2.5-0.5b", 896, 4864, 24, 14, 2, 64, 151936},
                         {"qwen2.5-3b", 2048, 11008, 36, 16, 2, 128, 151936},
                         {"llama-7b", 4096, 11008, 32, 32, 32, 128, 32000}};

/// Everything on one allocation; pieces are handed out.
class Arena {
 public:
  explicit Arena(int64_t bytes) { CHECK(cudaMalloc(&base_, static_cast<size_t>(bytes))); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { cudaFree(base_); }
  void* take(int64_t bytes) {
    void* p = static_cast<char*>(base_) + used_;
    used_ += (bytes + 255) / 256 * 256;
    return p;
  }
  void* half(int64_t count, float sigma) {
    void* p = take(count * 2);
    CHECK(aqlm_exp::bench::fill_half(p, count, static_cast<uint32_t>(used_ >> 8), sigma, g_stream));
    return p;
  }
  template <typename T>
  T* zeros(int64_t count) {
    void* p = take(count * static_cast<int64_t>(sizeof(T)));
    CHECK(cudaMemsetAsync(p, 0, static_cast<size_t>(count) * sizeof(T), g_stream));
    return static_cast<T*>(p);
  }

 private:
  void* base_ = nullptr;
  int64_t used_ = 0;
};

struct Layer {
  void *input_norm, *qkv, *qkv_bias, *o, *post_norm, *gate_up, *down, *keys, *values;
};

class Step {
 public:
  static constexpr int64_t kCapacity = 2048, kMaxSteps = 1 << 16;
  Step(const Shape& shape, int64_t batch)
      : s(shape), batch_(batch), arena_(weight_bytes(shape) + batch * (int64_t{400} << 20) + (int64_t{256} << 20)) {
    const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    const float sigma = 0.02F;
    for (int64_t i = 0; i < s.layers; ++i) {
      layers_.push_back({arena_.half(s.hidden, 1), arena_.half((q + 2 * kv) * s.hidden, sigma),
                         arena_.half(q + 2 * kv, sigma), arena_.half(s.hidden * q, sigma), arena_.half(s.hidden, 1),
                         arena_.half(2 * s.inter * s.hidden, sigma), arena_.half(s.hidden * s.inter, sigma),
                         arena_.half(batch * s.kv_heads * kCapacity * s.head_dim, 1),
                         arena_.half(batch * s.kv_heads * kCapacity * s.head_dim, 1)});
    }
    embedding_ = arena_.half(s.vocab * s.hidden, sigma);
    final_norm_ = arena_.half(s.hidden, 1);
    residual_ = arena_.zeros<float>(batch * s.hidden);
    qkv_ = arena_.take(batch * (q + 2 * kv) * 2);
    mixed_ = arena_.take(batch * q * 2);
    activated_ = arena_.take(batch * s.inter * 2);
    logits_ = arena_.zeros<float>(batch * s.vocab);
    ids_ = arena_.zeros<int64_t>(batch);
    positions_ = arena_.zeros<int64_t>(batch);
    step_ = arena_.zeros<int64_t>(1);
    history_ = arena_.zeros<int64_t>(kMaxSteps * batch);
    params_ = arena_.zeros<dec::SampleParams>(batch);
    uniforms_ = arena_.zeros<double>(kMaxSteps * batch);
    ticket_ = arena_.zeros<uint32_t>(1);
    tickets_ = arena_.zeros<uint32_t>(batch * s.kv_heads);
    cos_ = arena_.zeros<float>(kCapacity * s.head_dim / 2);
    sin_ = arena_.zeros<float>(kCapacity * s.head_dim / 2);
    splits_ = std::max<int64_t>(1, std::min<int64_t>(23, 264 / (s.kv_heads * batch)));  // √2048 / 2
    dec::AttendCall attend = attention(layers_[0]);
    partial_ = arena_.zeros<float>(dec::attend_scratch_floats(attend));
    CHECK(cudaStreamSynchronize(g_stream));
  }
  void set_position(int64_t position) {
    const std::vector<int64_t> all(static_cast<size_t>(batch_), position);
    const int64_t zero = 0;
    CHECK(cudaMemcpyAsync(positions_, all.data(), all.size() * 8, cudaMemcpyHostToDevice, g_stream));
    CHECK(cudaMemcpyAsync(step_, &zero, 8, cudaMemcpyHostToDevice, g_stream));
    CHECK(cudaStreamSynchronize(g_stream));
  }
  static int64_t weight_bytes(const Shape& s) {
    const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    return 2 * (s.layers * ((q + 2 * kv) * s.hidden + s.hidden * q + 3 * s.inter * s.hidden) + s.vocab * s.hidden);
  }

  void run(const std::string& part, bool programmatic) {
    const dec::Order order{g_stream, programmatic};
    const auto want = [&](const char* name) { return part == "step" || part == name; };
    if (want("embed"))
      CHECK(dec::embed_cuda({dec::Element::kF16, embedding_, ids_, residual_, batch_, s.hidden}, order));
    const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    for (const Layer& layer : layers_) {
      if (want("qkv")) {
        dec::GemvCall call = gemv(layer.qkv, q + 2 * kv, s.hidden, residual_, layer.input_norm, qkv_);
        call.bias = layer.qkv_bias;
        CHECK(dec::gemv_cuda(call, order));
      }
      if (want("attend")) CHECK(dec::attend_cuda(attention(layer), order));
      if (want("o")) {
        dec::GemvCall call = gemv(layer.o, s.hidden, q, mixed_, nullptr, residual_);
        call.epilogue = dec::Epilogue::kAddFloat;
        CHECK(dec::gemv_cuda(call, order));
      }
      if (want("gate_up")) {
        dec::GemvCall call = gemv(layer.gate_up, s.inter, s.hidden, residual_, layer.post_norm, activated_);
        call.epilogue = dec::Epilogue::kSiluMul;
        CHECK(dec::gemv_cuda(call, order));
      }
      if (want("down")) {
        dec::GemvCall call = gemv(layer.down, s.hidden, s.inter, activated_, nullptr, residual_);
        call.epilogue = dec::Epilogue::kAddFloat;
        CHECK(dec::gemv_cuda(call, order));
      }
    }
    if (want("lm_head")) {
      dec::GemvCall call = gemv(embedding_, s.vocab, s.hidden, residual_, final_norm_, logits_);
      call.epilogue = dec::Epilogue::kStoreFloat;
      CHECK(dec::gemv_cuda(call, order));
    }
    if (want("sample")) {
      dec::SampleCall call{.batch = batch_, .vocab_size = s.vocab};
      call.logits = logits_, call.params = params_, call.uniforms = uniforms_, call.ids = ids_;
      call.positions = positions_, call.step = step_, call.history = history_, call.ticket = ticket_;
      CHECK(dec::sample_cuda(call, order));
    }
  }
  int64_t launches(const std::string& part) const {
    if (part == "step") return 5 * s.layers + 3;
    return part == "embed" || part == "lm_head" || part == "sample" ? 1 : s.layers;
  }
  dec::SampleParams* params() { return params_; }
  const Shape s;

 private:
  dec::GemvCall gemv(void* weight, int64_t rows, int64_t inputs, void* x, void* norm, void* y) const {
    dec::GemvCall call;
    call.element = dec::Element::kF16;
    call.weight = weight, call.rows = rows, call.inputs = inputs, call.batch = batch_;
    call.x = x, call.norm_weight = norm, call.y = y;
    return call;
  }
  dec::AttendCall attention(const Layer& layer) const {
    dec::AttendCall call;
    const int64_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
    call.element = dec::Element::kF16;
    call.batch = batch_, call.num_heads = s.heads, call.num_kv_heads = s.kv_heads, call.head_dim = s.head_dim;
    call.capacity = kCapacity, call.num_splits = splits_;
    call.scale = 1.0F / std::sqrt(static_cast<float>(s.head_dim));
    auto* base = static_cast<uint16_t*>(qkv_);
    call.q = base, call.k = base + q, call.v = base + q + kv;
    call.q_stride = call.kv_stride = q + 2 * kv;
    call.cos = cos_, call.sin = sin_, call.positions = positions_;
    call.keys = layer.keys, call.values = layer.values, call.y = mixed_;
    call.partial = partial_, call.tickets = tickets_;
    return call;
  }

  int64_t batch_, splits_ = 1;
  Arena arena_;
  std::vector<Layer> layers_;
  void *embedding_ = nullptr, *final_norm_ = nullptr, *qkv_ = nullptr, *mixed_ = nullptr, *activated_ = nullptr;
  float *residual_ = nullptr, *logits_ = nullptr, *partial_ = nullptr, *cos_ = nullptr, *sin_ = nullptr;
  int64_t *ids_ = nullptr, *positions_ = nullptr, *step_ = nullptr, *history_ = nullptr;
  dec::SampleParams* params_ = nullptr;
  double* uniforms_ = nullptr;
  uint32_t *ticket_ = nullptr, *tickets_ = nullptr;
};

cudaGraphExec_t capture(const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CHECK(cudaStreamBeginCapture(g_stream, cudaStreamCaptureModeThreadLocal));
  work();
  CHECK(cudaStreamEndCapture(g_stream, &graph));
  CHECK(cudaGraphInstantiate(&exec, graph, 0));
  CHECK(cudaGraphDestroy(graph));
  return exec;
}

double time_s(cudaGraphExec_t exec, int replays) {
  static cudaEvent_t a = nullptr, b = nullptr;
  if (a == nullptr) {
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
  }
  CHECK(cudaEventRecord(a, g_stream));
  for (int i = 0; i < replays; ++i) CHECK(cudaGraphLaunch(exec, g_stream));
  CHECK(cudaEventRecord(b, g_stream));
  CHECK(cudaEventSynchronize(b));
  float ms = 0;
  CHECK(cudaEventElapsedTime(&ms, a, b));
  return static_cast<double>(ms) / 1e3 / replays;
}

void read_bandwidth(benchmark::State& state) {
  const int64_t bytes = int64_t{6} << 30;
  void *p = nullptr, *sink = nullptr;
  CHECK(cudaMalloc(&p, static_cast<size_t>(bytes)));
  CHECK(cudaMalloc(&sink, 1 << 20));
  CHECK(cudaMemsetAsync(p, 1, static_cast<size_t>(bytes), g_stream));
  cudaGraphExec_t exec = capture([&] { CHECK(aqlm_exp::bench::read_only(p, bytes, sink, g_stream)); });
  time_s(exec, 2);
  for (auto _ : state) state.SetIterationTime(time_s(exec, 5));
  state.counters["TB_per_s"] =
      benchmark::Counter(static_cast<double>(bytes) / 1e12, benchmark::Counter::kIsIterationInvariantRate);
  CHECK(cudaGraphExecDestroy(exec));
  CHECK(cudaFree(p));
  CHECK(cudaFree(sink));
}

void part(benchmark::State& state, Step*& step, const std::string& name, bool programmatic, int64_t position,
          bool samples) {
  const dec::SampleParams setting =
      samples ? dec::SampleParams{.temperature = 0.7F, .top_p = 0.9F, .top_k = 50} : dec::SampleParams{};
  CHECK(cudaMemcpyAsync(step->params(), &setting, sizeof setting, cudaMemcpyHostToDevice, g_stream));
  cudaGraphExec_t exec = capture([&] { step->run(name, programmatic); });
  const int replays = 128;
  step->set_position(position);
  time_s(exec, 20);
  for (auto _ : state) {
    step->set_position(position);
    state.SetIterationTime(time_s(exec, replays));
  }
  const double bytes = static_cast<double>(Step::weight_bytes(step->s));
  if (name == "step") {
    state.counters["tokens_per_s"] = benchmark::Counter(1, benchmark::Counter::kIsIterationInvariantRate);
    // Times the reads at the datasheet's bandwidth / the time taken.
    state.counters["of_datasheet"] =
        benchmark::Counter(bytes / kDatasheetBytesPerS, benchmark::Counter::kIsIterationInvariantRate);
  } else {
    state.counters["us_per_launch"] =
        benchmark::Counter(1e-6 * static_cast<double>(step->launches(name)),
                           benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  }
  CHECK(cudaGraphExecDestroy(exec));
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (dec::decode_cuda_available() != Status::kOk) {
    std::fprintf(stderr, "decode_bench: needs a GPU; none is here\n");
    return 1;
  }
  CHECK(cudaStreamCreateWithFlags(&g_stream, cudaStreamNonBlocking));
  benchmark::RegisterBenchmark("read_bandwidth", read_bandwidth)
      ->UseManualTime()
      ->Iterations(5)
      ->Unit(benchmark::kMillisecond);
  static Step* step = nullptr;  // one model at a time
  for (const Shape& shape : kShapes) {
    const auto add = [&](const std::string& name, bool programmatic, int64_t position, bool samples) {
      const std::string title = std::string(shape.name) + "/" + name + (programmatic ? "/pdl" : "/plain") +
                                "/at:" + std::to_string(position) + (samples ? "/sampled" : "");
      benchmark::RegisterBenchmark(title.c_str(),
                                   [=](benchmark::State& state) {
                                     if (step == nullptr || step->s.name != shape.name) {
                                       delete step;
                                       step = new Step(shape, 1);
                                     }
                                     part(state, step, name, programmatic, position, samples);
                                   })
          ->UseManualTime()
          ->Iterations(2)  // each is 128 replays
          ->Unit(benchmark::kMicrosecond);
    };
    add("step", true, 64, false);
    add("step", false, 64, false);
    add("step", true, 512, false);
    add("step", true, 1900, false);
    add("step", true, 512, true);
    for (const char* name : {"embed", "qkv", "attend", "o", "gate_up", "down", "lm_head", "sample"}) {
      add(name, true, 512, false);
    }
    add("attend", true, 1900, false);
    add("sample", true, 512, true);
  }
  benchmark::RunSpecifiedBenchmarks();
  delete step;
  return 0;
}
