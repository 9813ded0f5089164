#include "kernels/platform/huge_pages.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace aqlm_exp::kernels {

bool prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{2} << 20;
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (address + kPage - 1) / kPage * kPage;
  const uintptr_t end = (address + static_cast<uintptr_t>(bytes > 0 ? bytes : 0)) / kPage * kPage;
  return end > begin && ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE) == 0;
#else
  return false;
#endif
}

}  // namespace aqlm_exp::kernels
