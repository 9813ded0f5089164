#include <algorithm>
#include <cstring>

#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/code_search_cpu_support.h"

namespace aqlm_exp::code_search {
namespace {

using kernels::Status;

constexpr int64_t kQueries = 256;  // of one pass over a book: their state stays in L1 and L2

struct Layout {
  int64_t padded, words, bias, minus2u, state, per_thread;
  explicit Layout(const NearestShape& s)
      : padded(cpu::padded_size(s.codewords)),
        words(cpu::aligned_floats(padded * s.group_size)),
        bias(cpu::aligned_floats(padded)),
        minus2u(cpu::aligned_floats(kQueries * s.group_size)),
        state(kQueries * 32),
        per_thread(bias + minus2u + state + cpu::aligned_floats(kQueries)) {}
};

}  // namespace

Status nearest_cpu_supports(const NearestShape& s) noexcept {
  const bool ok = s.batches >= 1 && s.rows >= 1 && s.codewords >= 1 && s.codewords <= 65536 && s.group_size >= 1 &&
                  s.group_size <= kMaxGroupSize;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

int64_t nearest_cpu_workspace_bytes(const NearestShape& shape, int threads) noexcept {
  if (nearest_cpu_supports(shape) != Status::kOk) return 0;
  const Layout layout(shape);
  return 4 * (layout.words + layout.per_thread * std::max(threads, 1));
}

Status nearest_cpu(const NearestShape& shape, const NearestCall& call, const CpuRun& run) noexcept {
  if (nearest_cpu_supports(shape) != Status::kOk) return Status::kUnsupportedShape;
  const Layout layout(shape);
  const cpu::Level& level = cpu::level_for(run.isa);
  const int64_t g = shape.group_size;
  float* base = static_cast<float*>(run.workspace);
  cpu::transpose_book(call.book, shape.codewords, g, base);
  const cpu::Book book{base, shape.codewords, layout.padded, g};
  const int64_t chunks = (shape.rows + kQueries - 1) / kQueries;
  kernels::ThreadPool::shared().run(std::max(run.threads, 1), [&](int index, int count) {
    float* bias = base + layout.words + index * layout.per_thread;
    float* minus2u = bias + layout.bias;
    float* state = minus2u + layout.minus2u;
    float* unused = state + layout.state;
    const auto [begin, end] = kernels::part_of(shape.batches * chunks, 1, index, count);
    int64_t have = -1;  // the batch whose bias is ready
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t b = unit / chunks, first = unit % chunks * kQueries;
      const int64_t n = std::min(kQueries, shape.rows - first), at = b * shape.rows + first;
      if (call.bias) {
        if (have != b) {
          std::memcpy(bias, call.bias + b * shape.codewords, static_cast<size_t>(shape.codewords) * 4);
          std::fill(bias + shape.codewords, bias + layout.padded, cpu::kNever);
        }
      } else if (have != b && (call.metric || have < 0)) {
        level.norms(book, call.metric ? call.metric + b * g * g : nullptr, bias);
      }
      have = b;
      for (int64_t i = 0; i < n * g; ++i) minus2u[i] = -2 * call.queries[at * g + i];
      level.nearest(book, bias, minus2u, n, state, call.index + at, call.score ? call.score + at : unused);
    }
  });
  return Status::kOk;
}

}  // namespace aqlm_exp::code_search
