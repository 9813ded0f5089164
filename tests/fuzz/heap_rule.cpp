// Entry of every libFuzzer program: runs the target and holds it to the memory rule, 16 bytes of heap for each byte of
// input and 64 MiB besides. The sanitizer's allocation hooks count every byte asked for by malloc, new and realloc,
// also inside libraries, so the rule is checked exactly, not by resident size (which holds shadow memory and
// quarantine).
#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr int64_t kFactor = 16;
constexpr int64_t kAllowance = int64_t{64} << 20;

std::atomic<int64_t> live_bytes{0};  // asked for and not given back
std::atomic<int64_t> peak_bytes{0};

int64_t largest_bytes = 0;  // of all inputs so far
size_t largest_input = 0;

void print_largest() {
  std::fprintf(stderr, "stat::peak_heap_of_one_input_bytes: %lld\nstat::size_of_that_input_bytes:    %zu\n",
               static_cast<long long>(largest_bytes), largest_input);
}

}  // namespace

extern "C" {

int aqlm_exp_fuzz_target(const uint8_t* data, size_t size);

void __sanitizer_malloc_hook(const volatile void*, size_t size) {
  const int64_t now = live_bytes.fetch_add(static_cast<int64_t>(size)) + static_cast<int64_t>(size);
  int64_t peak = peak_bytes.load();
  while (now > peak && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
}

void __sanitizer_free_hook(const volatile void* block) {
  live_bytes.fetch_sub(static_cast<int64_t>(__sanitizer_get_allocated_size(block)));
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool registered = std::atexit(print_largest) == 0;
  if (!registered) std::abort();
  const int64_t before = live_bytes.load();
  peak_bytes.store(before);
  const int result = aqlm_exp_fuzz_target(data, size);
  const int64_t used = peak_bytes.load() - before;
  if (used > largest_bytes) {
    largest_bytes = used;
    largest_input = size;
  }
  if (used > kFactor * static_cast<int64_t>(size) + kAllowance) {
    std::fprintf(stderr, "broken promise: %lld bytes of heap for an input of %zu; need at most 16 x input + 64 MiB\n",
                 static_cast<long long>(used), size);
    std::abort();
  }
  return result;
}

}  // extern "C"
