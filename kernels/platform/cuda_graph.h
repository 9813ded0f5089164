// The few calls of the CUDA runtime that a decoding loop needs, for code that sees no CUDA header: capturing a stream
// into a graph, replaying it, waiting for a step, and page-locked memory to read results from. Streams are
// cudaStream_t. In a build without CUDA every call answers kNoDevice.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/platform/status.h"

namespace aqlm_exp::kernels {

/// Text of the last error of the CUDA runtime on this thread, which is cleared.
const char* cuda_error_text() noexcept;

Status capture_begin(void* stream) noexcept;
/// Ends the capture. @param graph an executable graph, to be freed with graph_destroy
Status capture_end(void* stream, void** graph) noexcept;
Status graph_launch(void* graph, void* stream) noexcept;
void graph_destroy(void* graph) noexcept;

Status event_create(void** event) noexcept;
Status event_record(void* event, void* stream) noexcept;
Status event_wait(void* event) noexcept;  // of the calling thread
void event_destroy(void* event) noexcept;

Status stream_wait(void* stream) noexcept;
Status device_wait() noexcept;
Status copy_to_host(void* host, const void* device, size_t bytes, void* stream) noexcept;
Status pinned_allocate(void** host, size_t bytes) noexcept;
void pinned_free(void* host) noexcept;

}  // namespace aqlm_exp::kernels
