#include "framework/base/peak_memory.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <string_view>

namespace aqlm_exp {
namespace {

std::atomic<int64_t> peak_before_restarts{0};

/// A line "VmHWM:    1234 kB" of /proc/self/status in bytes; 0 where there is none.
int64_t status_bytes(std::string_view key) {
  char text[8192];
  const int fd = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  const ssize_t got = ::read(fd, text, sizeof text);
  ::close(fd);
  if (got <= 0) return 0;
  const std::string_view status(text, static_cast<size_t>(got));
  const size_t at = status.find(key);
  if (at == std::string_view::npos) return 0;
  const size_t digit = status.find_first_of("0123456789", at);
  if (digit == std::string_view::npos) return 0;
  int64_t kib = 0;
  std::from_chars(status.data() + digit, status.data() + status.size(), kib);
  return kib * 1024;
}

}  // namespace

int64_t host_resident_bytes() { return status_bytes("VmRSS:"); }

int64_t host_peak_since_restart_bytes() {
  if (const int64_t bytes = status_bytes("VmHWM:"); bytes > 0) return bytes;
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

int64_t host_peak_bytes() { return std::max(peak_before_restarts.load(), host_peak_since_restart_bytes()); }

bool restart_host_peak() {
  const int64_t peak = host_peak_since_restart_bytes();
  int64_t known = peak_before_restarts.load();
  while (peak > known && !peak_before_restarts.compare_exchange_weak(known, peak)) {
  }
  const int fd = ::open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool cleared = ::write(fd, "5", 1) == 1;
  ::close(fd);
  return cleared;
}

}  // namespace aqlm_exp
