// Threads for CPU kernels: started once, handed a job each by name, spinning briefly before they sleep.
// Why not OpenMP: the torch wheel ships a libgomp of its own, and a second runtime in the process oversubscribes the
// cores; and a job costs less here (docs/kernels.md section 6).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace aqlm_exp::kernels {

class ThreadPool {
 public:
  using Job = void (*)(void* context, int index, int count);

  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  /// The pool that all kernels share; it grows to the largest number of threads asked for.
  static ThreadPool& shared();

  /// Calls job(context, index, count) for index 0..count-1, index 0 on the caller, and returns when all are done.
  /// Parts that no worker has begun when the caller is through with its own are run by the caller: it waits for work,
  /// never for a worker to wake up. So parts may run one after the other, and must not wait for each other.
  /// Callers on several threads take turns; a call from inside a job runs its parts one after the other.
  void run(int count, Job job, void* context);

  template <typename Function>
  void run(int count, Function&& function) {
    using Body = std::remove_reference_t<Function>;
    run(
        count, [](void* context, int index, int parts) { (*static_cast<Body*>(context))(index, parts); },
        const_cast<std::remove_const_t<Body>*>(&function));
  }

 private:
  struct alignas(64) Worker {
    /// Even: a part waits to be begun. Odd: begun, by the worker or by the caller, or there was none yet. Raised by one
    /// each time; whoever makes it odd owns the part and may read job, context and count, which the caller writes
    /// before it makes the ticket even.
    std::atomic<uint32_t> ticket{1};
    std::atomic<int> spins{0};  // before the worker sleeps, as the last job had it
    Job job = nullptr;
    void* context = nullptr;
    int index = 0, count = 0;
    bool stop = false;
    std::thread thread;
  };
  static bool begin(Worker& worker, uint32_t ticket) {
    return worker.ticket.compare_exchange_strong(ticket, ticket + 1, std::memory_order_acq_rel,
                                                 std::memory_order_relaxed);
  }
  void loop(Worker& worker);
  static void wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old, int spins);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  alignas(64) std::atomic<uint32_t> pending_{0};
};

/// Part `index` of `count` of the range [0, size): contiguous, sizes differ by at most one `step`.
struct Span {
  int64_t begin, end;
};
inline Span part_of(int64_t size, int64_t step, int index, int count) noexcept {
  const int64_t steps = (size + step - 1) / step;
  const int64_t begin = steps * index / count * step, end = steps * (index + 1) / count * step;
  return {begin < size ? begin : size, end < size ? end : size};
}

}  // namespace aqlm_exp::kernels
