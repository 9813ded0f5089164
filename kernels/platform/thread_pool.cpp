#include "kernels/platform/thread_pool.h"

namespace aqlm_exp::kernels {
namespace {

thread_local bool t_inside_job = false;

inline void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// About 50 us on current x86: longer than the gap between two linears of a model, short enough not to heat idle cores.
// With more threads than cores nobody spins: a spinning thread would keep the core from the one it waits for.
constexpr int kSpins = 2000;
int spins_for(int count) {
  static const unsigned cores = std::thread::hardware_concurrency();
  return static_cast<unsigned>(count) <= cores ? kSpins : 0;
}

}  // namespace

ThreadPool& ThreadPool::shared() {
  static ThreadPool pool;
  return pool;
}

void ThreadPool::wait_while_equal(const std::atomic<uint32_t>& value, uint32_t old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
}

void ThreadPool::loop(Worker& worker) {
  for (;;) {
    const uint32_t ticket = worker.ticket.load(std::memory_order_acquire);
    if (ticket % 2 != 0) {
      wait_while_equal(worker.ticket, ticket, worker.spins.load(std::memory_order_relaxed));
      continue;
    }
    if (!begin(worker, ticket)) continue;  // the caller was faster
    if (worker.stop) return;
    t_inside_job = true;
    worker.job(worker.context, worker.index, worker.count);
    t_inside_job = false;
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
  }
}

void ThreadPool::run(int count, Job job, void* context) {
  if (count <= 1 || t_inside_job) {
    for (int i = 0; i < (count < 1 ? 1 : count); ++i) job(context, i, count < 1 ? 1 : count);
    return;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto helpers = static_cast<size_t>(count - 1);
  while (workers_.size() < helpers) {
    workers_.push_back(std::make_unique<Worker>());
    Worker& worker = *workers_.back();
    worker.thread = std::thread([this, &worker] { loop(worker); });
  }
  pending_.store(static_cast<uint32_t>(helpers), std::memory_order_relaxed);
  const int spins = spins_for(count);
  for (size_t i = 0; i < helpers; ++i) {
    Worker& worker = *workers_[i];
    worker.job = job;
    worker.context = context;
    worker.index = static_cast<int>(i) + 1;
    worker.count = count;
    worker.spins.store(spins, std::memory_order_relaxed);
    worker.ticket.fetch_add(1, std::memory_order_release);
    worker.ticket.notify_one();
  }
  t_inside_job = true;
  job(context, 0, count);
  uint32_t own = 0;
  for (size_t i = 0; i < helpers; ++i) {
    Worker& worker = *workers_[i];
    const uint32_t ticket = worker.ticket.load(std::memory_order_relaxed);
    if (ticket % 2 != 0 || !begin(worker, ticket)) continue;
    job(context, static_cast<int>(i) + 1, count);
    ++own;
  }
  t_inside_job = false;
  uint32_t left =
      own > 0 ? pending_.fetch_sub(own, std::memory_order_acq_rel) - own : pending_.load(std::memory_order_acquire);
  for (; left != 0; left = pending_.load(std::memory_order_acquire)) wait_while_equal(pending_, left, spins);
}

ThreadPool::~ThreadPool() {
  for (auto& worker : workers_) {
    worker->stop = true;
    worker->ticket.fetch_add(1, std::memory_order_release);
    worker->ticket.notify_one();
  }
  for (auto& worker : workers_) worker->thread.join();
}

}  // namespace aqlm_exp::kernels
