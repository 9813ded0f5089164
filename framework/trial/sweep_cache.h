// The folder in which trials of one sweep leave what others can use, OUT/cache: files named by the hash of what they
// were made from, a limit on their size, locks that end with the process that holds them. May be deleted at any time
// when no trial runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace aqlm_exp::trial {

class SweepCache {
 public:
  /// @param dir empty: nothing is kept, every call below does nothing
  SweepCache(std::filesystem::path dir, uint64_t limit_bytes);
  SweepCache(const SweepCache&) = delete;
  SweepCache& operator=(const SweepCache&) = delete;
  ~SweepCache();

  bool enabled() const { return fd_ >= 0; }
  std::filesystem::path path_of(const std::string& name) const { return dir_ / (name + ".bin"); }

  /// While it lives no other process has the lock of that item. Held by the kernel: a killed process frees it.
  class Lock {
   public:
    Lock(const SweepCache& cache, const std::string& name);
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    ~Lock();

   private:
    int fd_;
    int64_t byte_;
  };

  /// Items whose names start like this belong to the trial at hand: they are not removed to make room.
  void keep(const std::string& prefix) { kept_.push_back(prefix); }
  /// Notes that an item was used: the least recently used ones are removed first.
  void touch(const std::string& name) const;
  /// Has `write` write the item if it fits, removing others' items if need be. A full disk or cache is no failure of
  /// the trial. @return whether it is there now
  bool store(const std::string& name, uint64_t size_bytes,
             const std::function<void(const std::filesystem::path& path)>& write);

 private:
  bool make_room(uint64_t size_bytes) const;

  std::filesystem::path dir_;
  uint64_t limit_bytes_;
  int fd_ = -1;  // of the lock file
  std::vector<std::string> kept_;
};

/// AQLM_EXP_CACHE_MIB (set by the driver from exp.cache.limit_mib) in bytes, or the default of 8 GiB.
uint64_t cache_limit_bytes();

}  // namespace aqlm_exp::trial
