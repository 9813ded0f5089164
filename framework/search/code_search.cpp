#include "framework/search/code_search.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "framework/base/error.h"
#include "kernels/code_search/code_search_cpu.h"
#include "kernels/code_search/code_search_cuda.h"

namespace aqlm_exp::search {
namespace {

using code_search::NearestShape;
using code_search::SweepShape;
using kernels::Status;

/// The tensor as the kernels want it: dense, on `device`, of this dtype and shape.
at::Tensor ready(const char* where, const char* name, const at::Tensor& t, at::ScalarType type, at::Device device,
                 at::IntArrayRef shape) {
  if (!t.defined() || t.sizes() != shape) {
    throw DataError(fmt::format("[{}] {}: got shape [{}], need [{}]", where, name,
                                t.defined() ? fmt::format("{}", fmt::join(t.sizes(), ", ")) : "undefined",
                                fmt::join(shape, ", ")));
  }
  if (t.scalar_type() != type || t.device() != device) {
    throw DataError(fmt::format("[{}] {}: got {} on {}, need {} on {}", where, name, c10::toString(t.scalar_type()),
                                t.device().str(), c10::toString(type), device.str()));
  }
  return t.contiguous();
}
template <typename T>
T* data(const at::Tensor& t) {
  return t.defined() ? t.data_ptr<T>() : nullptr;
}
void* stream_of(at::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
}
at::Tensor workspace(int64_t bytes, at::Device device) {
  return at::empty({bytes + 64}, at::TensorOptions().dtype(at::kByte).device(device));
}
/// Torch aligns its CPU memory to 64 bytes and its GPU memory to 512.
void* start_of(const at::Tensor& t) { return t.data_ptr(); }

NearestShape shape_of(const at::Tensor& queries, const at::Tensor& book) {
  if (queries.dim() != 3 || book.dim() != 2)
    throw DataError(fmt::format("[nearest] queries [{}], book [{}]: need [batches, rows, g] and [codewords, g]",
                                fmt::join(queries.sizes(), ", "), fmt::join(book.sizes(), ", ")));
  return {queries.size(0), queries.size(1), book.size(0), static_cast<int32_t>(book.size(1))};
}
SweepShape shape_of(const Sweep& s) {
  if (s.codebooks.dim() != 3 || s.target.dim() != 2 || s.metric.dim() != 3)
    throw DataError("[sweep] need target [rows, inputs], metric [groups, g, g], codebooks [books, codewords, g]");
  SweepShape shape;
  shape.rows = s.target.size(0);
  shape.groups = s.metric.size(0);
  shape.group_size = static_cast<int32_t>(s.codebooks.size(2));
  shape.num_codebooks = static_cast<int32_t>(s.codebooks.size(0));
  shape.nbits = 0;
  while (shape.codewords() < s.codebooks.size(1)) ++shape.nbits;
  if (shape.codewords() != s.codebooks.size(1))
    throw DataError(fmt::format("[sweep] codebooks: got {} codewords, need a power of two", s.codebooks.size(1)));
  return shape;
}
Status status_of(const SweepShape& shape, const Sweep& s) {
  const auto candidates = static_cast<int32_t>(s.candidates);
  if (s.target.is_cpu()) return code_search::sweep_cpu_supports(shape, s.kind, s.search, candidates);
  const Status here = code_search::code_search_cuda_available();
  return here == Status::kOk ? code_search::sweep_cuda_supports(shape, s.kind, s.search, candidates) : here;
}
Status status_of(const NearestShape& shape, at::Device device) {
  if (device.is_cpu()) return code_search::nearest_cpu_supports(shape);
  const Status here = code_search::code_search_cuda_available();
  return here == Status::kOk ? code_search::nearest_cuda_supports(shape) : here;
}
void check(const char* where, Status status, at::Device device) {
  if (status != Status::kOk)
    throw DataError(fmt::format("[{}] {} on {}; ask supported() first and use the plain form", where,
                                kernels::status_name(status), device.str()));
}

}  // namespace

bool nearest_supported(const at::Tensor& queries, const at::Tensor& book) {
  return status_of(shape_of(queries, book), queries.device()) == Status::kOk;
}

Nearest nearest(const at::Tensor& queries, const at::Tensor& book, const at::Tensor& bias, const at::Tensor& metric) {
  const NearestShape shape = shape_of(queries, book);
  const at::Device device = queries.device();
  const int64_t g = shape.group_size;
  check("nearest", status_of(shape, device), device);
  const auto in = [&](const char* name, const at::Tensor& t, at::IntArrayRef sizes) {
    return ready("nearest", name, t, at::kFloat, device, sizes);
  };
  const at::Tensor q = in("queries", queries, {shape.batches, shape.rows, g});
  const at::Tensor words = in("book", book, {shape.codewords, g});
  const at::Tensor b = bias.defined() ? in("bias", bias, {shape.batches, shape.codewords}) : bias;
  const at::Tensor m = metric.defined() ? in("metric", metric, {shape.batches, g, g}) : metric;
  Nearest out;
  out.index = at::empty({shape.batches, shape.rows}, q.options().dtype(at::kInt));
  out.score = at::empty({shape.batches, shape.rows}, q.options());
  code_search::NearestCall call;
  call.queries = data<float>(q);
  call.book = data<float>(words);
  call.bias = data<float>(b);
  call.metric = data<float>(m);
  call.index = data<int32_t>(out.index);
  call.score = data<float>(out.score);
  if (device.is_cpu()) {
    const int threads = at::get_num_threads();
    const at::Tensor scratch = workspace(code_search::nearest_cpu_workspace_bytes(shape, threads), device);
    check("nearest", code_search::nearest_cpu(shape, call, {threads, kernels::CpuIsa::kBest, start_of(scratch)}),
          device);
  } else {
    const c10::DeviceGuard guard(device);
    const at::Tensor scratch = workspace(code_search::nearest_cuda_workspace_bytes(shape), device);
    check("nearest", code_search::nearest_cuda(shape, call, {start_of(scratch), stream_of(device)}), device);
  }
  return out;
}

Accumulated accumulate(const at::Tensor& index, const at::Tensor& values, const at::Tensor& weights,
                       int64_t codewords) {
  if (values.dim() != 3)
    throw DataError(
        fmt::format("[accumulate] values: got shape [{}], need [batches, rows, g]", fmt::join(values.sizes(), ", ")));
  const NearestShape shape{values.size(0), values.size(1), codewords, static_cast<int32_t>(values.size(2))};
  const at::Device device = values.device();
  const at::Tensor v = ready("accumulate", "values", values, at::kFloat, device, values.sizes());
  const at::Tensor i = ready("accumulate", "index", index, at::kInt, device, {shape.batches, shape.rows});
  const at::Tensor w =
      weights.defined() ? ready("accumulate", "weights", weights, at::kFloat, device, {shape.rows}) : weights;
  Accumulated out{at::empty({codewords, values.size(2)}, v.options()),
                  at::empty({codewords, shape.batches}, v.options())};
  const code_search::AccumulateCall call{data<int32_t>(i), data<float>(v), data<float>(w), data<float>(out.sums),
                                         data<float>(out.counts)};
  if (device.is_cpu()) {
    const int threads = at::get_num_threads();
    const at::Tensor scratch = workspace(code_search::accumulate_cpu_workspace_bytes(shape, threads), device);
    check("accumulate", code_search::accumulate_cpu(shape, call, {threads, kernels::CpuIsa::kBest, start_of(scratch)}),
          device);
  } else {
    const c10::DeviceGuard guard(device);
    const at::Tensor scratch = workspace(code_search::accumulate_cuda_workspace_bytes(shape), device);
    check("accumulate", code_search::accumulate_cuda(shape, call, {start_of(scratch), stream_of(device)}), device);
  }
  return out;
}

bool supported(const Sweep& sweep) { return status_of(shape_of(sweep), sweep) == Status::kOk; }

at::Tensor run(const Sweep& s, at::Tensor& codes) {
  const SweepShape shape = shape_of(s);
  const at::Device device = s.target.device();
  const int64_t g = shape.group_size, inputs = shape.in_features(), books = shape.num_codebooks;
  check("sweep", status_of(shape, s), device);
  const auto in = [&](const char* name, const at::Tensor& t, at::IntArrayRef sizes, at::ScalarType type = at::kFloat) {
    return ready("sweep", name, t, type, device, sizes);
  };
  const at::Tensor target = in("target", s.target, {shape.rows, inputs});
  const at::Tensor feedback = in("feedback", s.feedback, {inputs, inputs});
  const at::Tensor metric = in("metric", s.metric, {shape.groups, g, g});
  const at::Tensor scales = in("scales", s.scales, {shape.rows});
  const at::Tensor words = in("codebooks", s.codebooks, {books, shape.codewords(), g});
  const at::Tensor order = s.order.defined() ? in("order", s.order, {shape.groups}, at::kInt) : s.order;
  const at::Tensor book_order =
      s.book_order.defined() ? in("book_order", s.book_order, {shape.groups, books}, at::kInt) : s.book_order;
  codes = in("codes", codes, {shape.rows, shape.groups, books}, at::kInt);
  const at::Tensor loss = at::empty({shape.rows}, target.options());
  code_search::SweepCall call;
  call.kind = s.kind;
  call.search = s.search;
  call.candidates = static_cast<int32_t>(s.candidates);
  call.target = data<float>(target);
  call.feedback = data<float>(feedback);
  call.metric = data<float>(metric);
  call.order = data<int32_t>(order);
  call.scales = data<float>(scales);
  call.codebooks = data<float>(words);
  call.book_order = data<int32_t>(book_order);
  call.codes = data<int32_t>(codes);
  call.loss = data<float>(loss);
  if (device.is_cpu()) {
    const int threads = at::get_num_threads();
    const at::Tensor scratch = workspace(code_search::sweep_cpu_workspace_bytes(shape, s.search, threads), device);
    check("sweep", code_search::sweep_cpu(shape, call, {threads, kernels::CpuIsa::kBest, start_of(scratch)}), device);
  } else {
    const c10::DeviceGuard guard(device);
    const at::Tensor scratch = workspace(code_search::sweep_cuda_workspace_bytes(shape, s.search), device);
    check("sweep", code_search::sweep_cuda(shape, call, {start_of(scratch), stream_of(device)}), device);
  }
  return loss;
}

}  // namespace aqlm_exp::search
