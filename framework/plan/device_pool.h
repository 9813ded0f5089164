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
  /// How a trial on the device ended: after two device failures in a row (ECC, fallen off the bus, illegal access) it
  /// is handed out no more. @return whether that happened now
  bool report(int slot, bool device_failed);
  /// Every device has failed: no trial can run any more.
  bool exhausted() const;
  const std::string& name(int slot) const { return slots_.at(static_cast<size_t>(slot)).name; }

 private:
  struct Slot {
    std::string name;
    int fd = -1;           // open and locked while in use
    int num_failures = 0;  // in a row
  };
  std::vector<Slot> slots_;
};

}  // namespace aqlm_exp::plan
