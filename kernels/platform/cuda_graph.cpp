#include "kernels/platform/cuda_graph.h"

#ifdef AQLM_EXP_HAVE_CUDA
#include <cuda_runtime_api.h>
#endif

namespace aqlm_exp::kernels {

#ifdef AQLM_EXP_HAVE_CUDA

namespace {

Status status_of(cudaError_t error) noexcept { return error == cudaSuccess ? Status::kOk : Status::kLaunchFailed; }
cudaStream_t stream_of(void* stream) noexcept { return static_cast<cudaStream_t>(stream); }

}  // namespace

const char* cuda_error_text() noexcept { return cudaGetErrorString(cudaGetLastError()); }

Status capture_begin(void* stream) noexcept {
  return status_of(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal));
}
Status capture_end(void* stream, void** graph) noexcept {
  cudaGraph_t captured = nullptr;
  if (cudaStreamEndCapture(stream_of(stream), &captured) != cudaSuccess) return Status::kLaunchFailed;
  cudaGraphExec_t exec = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&exec, captured, 0);
  cudaGraphDestroy(captured);
  *graph = exec;
  return status_of(error);
}
Status graph_launch(void* graph, void* stream) noexcept {
  return status_of(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream)));
}
void graph_destroy(void* graph) noexcept {
  if (graph != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
}

Status event_create(void** event) noexcept {
  cudaEvent_t made = nullptr;
  const cudaError_t error = cudaEventCreateWithFlags(&made, cudaEventDisableTiming);
  *event = made;
  return status_of(error);
}
Status event_record(void* event, void* stream) noexcept {
  return status_of(cudaEventRecord(static_cast<cudaEvent_t>(event), stream_of(stream)));
}
Status event_wait(void* event) noexcept { return status_of(cudaEventSynchronize(static_cast<cudaEvent_t>(event))); }
void event_destroy(void* event) noexcept {
  if (event != nullptr) cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

Status stream_wait(void* stream) noexcept { return status_of(cudaStreamSynchronize(stream_of(stream))); }
Status device_wait() noexcept { return status_of(cudaDeviceSynchronize()); }
Status copy_to_host(void* host, const void* device, size_t bytes, void* stream) noexcept {
  return status_of(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}
Status pinned_allocate(void** host, size_t bytes) noexcept { return status_of(cudaMallocHost(host, bytes)); }
void pinned_free(void* host) noexcept {
  if (host != nullptr) cudaFreeHost(host);
}

#else

const char* cuda_error_text() noexcept { return "this program was built without CUDA"; }
Status capture_begin(void*) noexcept { return Status::kNoDevice; }
Status capture_end(void*, void**) noexcept { return Status::kNoDevice; }
Status graph_launch(void*, void*) noexcept { return Status::kNoDevice; }
void graph_destroy(void*) noexcept {}
Status event_create(void**) noexcept { return Status::kNoDevice; }
Status event_record(void*, void*) noexcept { return Status::kNoDevice; }
Status event_wait(void*) noexcept { return Status::kNoDevice; }
void event_destroy(void*) noexcept {}
Status stream_wait(void*) noexcept { return Status::kNoDevice; }
Status device_wait() noexcept { return Status::kNoDevice; }
Status copy_to_host(void*, const void*, size_t, void*) noexcept { return Status::kNoDevice; }
Status pinned_allocate(void**, size_t) noexcept { return Status::kNoDevice; }
void pinned_free(void*) noexcept {}

#endif

}  // namespace aqlm_exp::kernels
