// CUDA devices handed out one a worker. A lock in the user's runtime folder keeps two sweeps of one host from using the
// same device at a time.
#pragma once

#include <string>
#include <vector>

namespace aqlm_exp::plan {

class DevicePool {
 public:
  /// @param names as for CUDA_VISIBLE_DEVICES; empty: a pool that never limits and names no device
  explicit DevicePool(std::vector<std::string> names);
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;
  ~DevicePool();

  bool limits() const { return !slots_.empty(); }
  /// A slot whose lock was got, or -1 when all are in use (here or by another sweep). @throws StorageError
  int acquire();
  void release(int slot);
  const std::string& name(int slot) const { return slots_.at(static_cast<size_t>(slot)).name; }

 private:
  struct Slot {
    std::string name;
    int fd = -1;  // open and locked while in use
  };
  std::vector<Slot> slots_;
};

}  // namespace aqlm_exp::plan
