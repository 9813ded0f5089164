#include "framework/generate/graph_pool.h"

#include "framework/base/error.h"

#ifdef AQLM_EXP_HAVE_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <dlfcn.h>

#include <atomic>
#endif

namespace aqlm_exp::generate {

#ifdef AQLM_EXP_HAVE_CUDA

namespace {

using Allocator = c10::cuda::CUDACachingAllocator::CUDAAllocator;

/// c10::cuda::CUDACachingAllocator::allocator of the libc10_cuda.so that came with libtorch_cuda.so. Looked up, not
/// linked: a run without a GPU does not load the CUDA libraries.
Allocator& allocator() {
  static Allocator* const found = []() -> Allocator* {
    void* symbol = ::dlsym(RTLD_DEFAULT, "_ZN3c104cuda20CUDACachingAllocator9allocatorE");
    return symbol == nullptr ? nullptr : static_cast<std::atomic<Allocator*>*>(symbol)->load();
  }();
  if (found == nullptr) {
    throw InternalError(
        "[graph] libtorch's CUDA allocator was not found; need the CUDA build of libtorch, opened first");
  }
  return *found;
}

std::atomic<unsigned long long> next_id{0x61716C6D00000000ULL};  // libtorch counts from 1: no meeting

}  // namespace

struct GraphPool::State {
  c10::Stream stream;
  c10::MempoolId_t id;
};

GraphPool::GraphPool(c10::Stream stream) : state_(std::make_unique<State>(State{stream, {next_id++, 0}})) {
  // Held once more than by its scopes, so that the pool outlives the first of them.
  allocator().createOrIncrefPool(stream.device_index(), state_->id);
}

GraphPool::~GraphPool() { allocator().releasePool(state_->stream.device_index(), state_->id); }

GraphPool::Scope::Scope(GraphPool& pool) : pool_(pool) {
  void* mine = pool.state_->stream.native_handle();
  allocator().beginAllocateToPool(pool.state_->stream.device_index(), pool.state_->id,
                                  [mine](cudaStream_t stream) { return stream == static_cast<cudaStream_t>(mine); });
}

GraphPool::Scope::~Scope() {
  allocator().endAllocateToPool(pool_.state_->stream.device_index(), pool_.state_->id);
  allocator().releasePool(pool_.state_->stream.device_index(), pool_.state_->id);
}

#else

struct GraphPool::State {};
GraphPool::GraphPool(c10::Stream) { throw InternalError("[graph] this program was built without CUDA"); }
GraphPool::~GraphPool() = default;
GraphPool::Scope::Scope(GraphPool& pool) : pool_(pool) {}
GraphPool::Scope::~Scope() = default;

#endif

}  // namespace aqlm_exp::generate
