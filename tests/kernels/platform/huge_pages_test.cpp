#include "kernels/platform/huge_pages.h"

#include <gtest/gtest.h>

#ifdef __linux__
#include <sys/mman.h>

#include <fstream>
#include <sstream>
#include <string>

namespace aqlm_exp::kernels {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

struct Mapping {
  char* data;
  int64_t size;
  explicit Mapping(int64_t bytes)
      : data(static_cast<char*>(
            mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        size(bytes) {}
  ~Mapping() { munmap(data, static_cast<size_t>(size)); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  /// The first byte at a multiple of 2 MiB.
  char* page() const {
    const auto at = reinterpret_cast<uintptr_t>(data);
    return reinterpret_cast<char*>((at + 2 * kMiB - 1) / (2 * kMiB) * (2 * kMiB));
  }
};

/// Whether the kernel notes that large pages are wished for where `address` lies.
bool advised(const char* address) {
  std::ifstream maps("/proc/self/smaps");
  const auto at = reinterpret_cast<uintptr_t>(address);
  bool here = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream head(line);
    if (head >> std::hex >> begin >> dash >> end && dash == '-') here = begin <= at && at < end;
    if (here && line.rfind("VmFlags:", 0) == 0) return line.find(" hg") != std::string::npos;
  }
  return false;
}

TEST(HugePages, AreAskedForWholePagesInsideTheRangeAndNowhereElse) {
  const Mapping memory(12 * kMiB);
  char* page = memory.page();
  if (!prefer_huge_pages(page + 1, 6 * kMiB)) GTEST_SKIP() << "this system has no transparent huge pages";
  EXPECT_FALSE(advised(page)) << "the first page is not wholly inside";
  EXPECT_TRUE(advised(page + 2 * kMiB));
  EXPECT_TRUE(advised(page + 6 * kMiB - 1));
  EXPECT_FALSE(advised(page + 6 * kMiB)) << "the last page is not wholly inside";
}

TEST(HugePages, AreNotAskedForWhereNoneFits) {
  const Mapping memory(8 * kMiB);
  char* page = memory.page();
  EXPECT_FALSE(prefer_huge_pages(page + 1, 4 * kMiB - 2));
  EXPECT_FALSE(prefer_huge_pages(page, 0));
  EXPECT_FALSE(prefer_huge_pages(page, -1));
  EXPECT_FALSE(advised(page + 2 * kMiB));
}

}  // namespace
}  // namespace aqlm_exp::kernels
#endif
