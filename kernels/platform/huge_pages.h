// Weights that are streamed at every token want 2 MiB pages: with 4 KiB pages the prefetchers stop at each page's end
// and a walk of the page table starts the next (one core of a Zen 4 EPYC reads 17 GB/s so, 32 GB/s from large pages).
#pragma once

#include <cstdint>

namespace aqlm_exp::kernels {

/// Asks the system to back the whole 2 MiB pages inside [data, data + bytes) by large ones; to be called before the
/// first write. A wish: returns false where nothing was asked for (no Linux, fewer than 2 MiB, or the system refused),
/// and the memory is as good as before.
bool prefer_huge_pages(void* data, int64_t bytes) noexcept;

}  // namespace aqlm_exp::kernels
