#include "framework/results/library.h"

#include <fmt/format.h>
#include <hdf5.h>
#include <malloc.h>

namespace aqlm_exp::results {

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  if (H5get_libversion(&major, &minor, &release) < 0) return "unknown";
  return fmt::format("{}.{}.{}", major, minor, release);
}

void keep_freed_memory() {
#ifdef __GLIBC__
  ::mallopt(M_TRIM_THRESHOLD, 256 << 20);
  ::mallopt(M_TOP_PAD, 16 << 20);
#endif
}

}  // namespace aqlm_exp::results
