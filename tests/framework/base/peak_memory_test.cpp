#include "framework/base/peak_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <vector>

namespace aqlm_exp {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

/// Takes memory from the kernel, touches it, and gives it back.
void touch(int64_t bytes) {
  void* block = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(block, MAP_FAILED);
  std::memset(block, 1, static_cast<size_t>(bytes));
  ::munmap(block, static_cast<size_t>(bytes));
}

TEST(PeakMemory, CountsFromTheRestartAndRemembersTheWhole) {
  if (!restart_host_peak()) GTEST_SKIP() << "/proc/self/clear_refs cannot be written here";
  const int64_t before = host_resident_bytes();
  touch(64 * kMib);
  EXPECT_GE(host_peak_since_restart_bytes(), before + 60 * kMib);
  const int64_t whole = host_peak_bytes();
  ASSERT_TRUE(restart_host_peak());
  EXPECT_LE(host_peak_since_restart_bytes(), before + 8 * kMib);
  EXPECT_GE(host_peak_bytes(), whole);
}

}  // namespace
}  // namespace aqlm_exp
