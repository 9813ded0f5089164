// Sweeps on the GPU, host side: workspace, launches, and which kernel serves which search (sweep_kernel.cuh).
#include "kernels/code_search/sweep_kernel.cuh"

namespace aqlm_exp::code_search {
namespace {

using kernels::Status;
using namespace sweep;

constexpr int64_t kSegment = 512;  // groups whose tables exist at a time: 128 MiB of them for pairs

struct Layout {  // floats of the workspace
  int64_t chunks, segment, errors, norms, tables;
  Layout(const SweepShape& shape, SweepSearch search)
      : chunks((shape.codewords() + kChunk - 1) / kChunk),
        segment(shape.groups < kSegment ? shape.groups : kSegment),
        errors(gpu::aligned_floats(shape.rows * shape.in_features())),
        norms(gpu::aligned_floats(segment * shape.num_codebooks * shape.codewords())),
        tables(search == SweepSearch::kExact && shape.num_codebooks == 2 ? segment * chunks * kChunk * kPairs : 0) {}
};

template <int G, int R, Search S>
Status launch_sweep(const Params& p, cudaStream_t stream) noexcept {
  kernels::Launch how;
  how.grid = dim3(static_cast<unsigned>((p.rows + R - 1) / R));
  how.block = dim3(kThreads);
  how.shared_bytes = sizeof(Shared<G, R, S>);
  how.stream = stream;
  return kernels::launch<sweep_kernel<G, R, S>>(how, p);
}

/// Rows of a CTA: fewer where that fills more multiprocessors. A group costs about as much as six rows beside its rows.
template <Search S>
int rows_per_cta(int64_t rows, int64_t sms) {
  int best = 32;
  int64_t least = INT64_MAX;
  for (int r : {32, 16, 8}) {
    if (r == 16 && S != Search::kPairs) continue;  // not built: a search of one book gains little by it
    const int64_t waves = ((rows + r - 1) / r + sms - 1) / sms, cost = waves * (r + 6);
    if (cost < least) least = cost, best = r;
  }
  return best;
}

template <int G, Search S>
Status run_sweep(const SweepShape& shape, const SweepCall& call, const CudaRun& run) noexcept {
  const Layout layout(shape, call.search);
  const auto stream = static_cast<cudaStream_t>(run.stream);
  const int sms = kernels::multiprocessors();
  if (sms == 0) return Status::kNoDevice;
  auto* errors = static_cast<float*>(run.workspace);
  float *norms = errors + layout.errors, *tables = norms + layout.norms;
  Params p{};
  p.target = call.target, p.feedback = call.feedback, p.metric = call.metric, p.scales = call.scales;
  p.books = call.codebooks, p.order = call.order, p.book_order = call.book_order, p.codes = call.codes,
  p.loss = call.loss;
  p.errors = errors, p.norms = norms, p.tables = tables;
  p.rows = shape.rows, p.inputs = shape.in_features(), p.groups = shape.groups;
  p.num_books = shape.num_codebooks, p.codewords = static_cast<int>(shape.codewords());
  p.chunks = static_cast<int>(layout.chunks);
  p.candidates = call.candidates;
  p.descent = call.kind == SweepKind::kCoordinateDescent;
  for (int64_t first = 0; first < shape.groups; first += layout.segment) {
    const int64_t some = shape.groups - first < layout.segment ? shape.groups - first : layout.segment;
    const float* metric = call.metric + first * G * G;
    Status status = gpu::launch_norms<G>({call.codebooks, metric, norms, p.codewords, p.num_books}, some, stream);
    if (status != Status::kOk) return status;
    if constexpr (S == Search::kPairs) {
      kernels::Launch how;
      how.grid = dim3(static_cast<unsigned>(layout.chunks), static_cast<unsigned>(some));
      how.block = dim3(kPairs);
      how.stream = stream;
      status = kernels::launch<table_kernel<G>>(
          how, TableParams{call.codebooks, metric, norms, tables, p.codewords, p.chunks});
      if (status != Status::kOk) return status;
    }
    p.first_group = first, p.last_group = first + some, p.first_launch = first == 0;
    if constexpr (S == Search::kStages) {
      status = launch_sweep<G, kWarps, S>(p, stream);  // a warp a row
    } else {
      const int rows = rows_per_cta<S>(shape.rows, sms);
      if constexpr (S == Search::kPairs)
        if (rows == 16) status = launch_sweep<G, 16, S>(p, stream);
      if (rows == 32) status = launch_sweep<G, 32, S>(p, stream);
      if (rows == 8) status = launch_sweep<G, 8, S>(p, stream);
    }
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

template <int G>
Status run_group_size(const SweepShape& shape, const SweepCall& call, const CudaRun& run) noexcept {
  if (call.search == SweepSearch::kOneBook) return run_sweep<G, Search::kEachBook>(shape, call, run);
  if (call.search == SweepSearch::kStages && shape.num_codebooks > 1)
    return run_sweep<G, Search::kStages>(shape, call, run);
  return shape.num_codebooks == 2 ? run_sweep<G, Search::kPairs>(shape, call, run)
                                  : run_sweep<G, Search::kBook>(shape, call, run);
}

}  // namespace

Status sweep_cuda_supports(const SweepShape& s, SweepKind kind, SweepSearch search, int32_t candidates) noexcept {
  bool ok = s.rows >= 1 && s.groups >= 1 && (s.group_size == 4 || s.group_size == 8 || s.group_size == 16) &&
            s.num_codebooks >= 1 && s.num_codebooks <= kMaxBooks && s.nbits >= 1 && s.nbits <= 16;
  if (search == SweepSearch::kExact) ok = ok && (s.num_codebooks == 1 || (s.num_codebooks == 2 && s.nbits <= 8));
  if (search == SweepSearch::kOneBook) ok = ok && kind == SweepKind::kCoordinateDescent;
  if (search == SweepSearch::kStages) ok = ok && candidates >= 1 && candidates <= kCandidates;
  return ok ? Status::kOk : Status::kUnsupportedShape;
}

int64_t sweep_cuda_workspace_bytes(const SweepShape& shape, SweepSearch search) noexcept {
  const Layout layout(shape, search);
  return 4 * (layout.errors + layout.norms + layout.tables);
}

Status sweep_cuda(const SweepShape& shape, const SweepCall& call, const CudaRun& run) noexcept {
  const Status status = sweep_cuda_supports(shape, call.kind, call.search, call.candidates);
  if (status != Status::kOk) return status;
  switch (shape.group_size) {
    case 4:
      return run_group_size<4>(shape, call, run);
    case 8:
      return run_group_size<8>(shape, call, run);
    default:
      return run_group_size<16>(shape, call, run);
  }
}

}  // namespace aqlm_exp::code_search
