#include "kernels/platform/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace aqlm_exp::kernels {
namespace {

TEST(ThreadPool, EachPartRunsExactlyOnceForAnyNumberOfThreads) {
  ThreadPool pool;
  for (int threads : {1, 2, 3, 64, 5, 1}) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(threads));
      pool.run(threads, [&](int index, int count) {
        EXPECT_EQ(count, threads);
        ++seen[static_cast<size_t>(index)];
      });
      for (const auto& times : seen) ASSERT_EQ(times.load(), 1);
    }
  }
}

TEST(ThreadPool, WritesOfAJobAreVisibleToTheCaller) {
  ThreadPool pool;
  std::vector<int64_t> values(64);
  for (int64_t round = 1; round <= 50; ++round) {
    pool.run(4, [&](int index, int) { values[static_cast<size_t>(index) * 8] = round; });
    for (size_t i = 0; i < 4; ++i) ASSERT_EQ(values[i * 8], round);
  }
}

TEST(ThreadPool, TheCallerRunsPartsWhoseWorkersSleep) {
  // More threads than cores: workers sleep between jobs, and a part this short is over before all of them wake.
  ThreadPool pool;
  constexpr int kThreads = 64, kJobs = 100;
  int on_caller = 0;
  for (int repeat = 0; repeat < kJobs; ++repeat) {
    std::vector<std::thread::id> ran(kThreads);
    pool.run(kThreads, [&](int index, int) { ran[static_cast<size_t>(index)] = std::this_thread::get_id(); });
    for (const auto& id : ran) ASSERT_NE(id, std::thread::id()) << "a part was lost";
    ASSERT_EQ(ran[0], std::this_thread::get_id());
    on_caller += static_cast<int>(std::count(ran.begin(), ran.end(), std::this_thread::get_id()));
  }
  EXPECT_GT(on_caller, kJobs) << "the caller ran its own parts only";
}

TEST(ThreadPool, AWorkerThatComesLateLeavesTheNextJobAlone) {
  ThreadPool pool;
  std::atomic<int64_t> sum{0};
  for (int64_t job = 1; job <= 3000; ++job)  // short jobs back to back: tickets are lost to the caller all the time
    pool.run(3, [&, job](int index, int) { sum += job * (index + 1); });
  EXPECT_EQ(sum.load(), 6 * 3000LL * 3001 / 2);
}

TEST(ThreadPool, NestedAndConcurrentCallsFinish) {
  std::atomic<int> parts{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c)
    callers.emplace_back([&] {
      for (int i = 0; i < 5; ++i)
        ThreadPool::shared().run(3, [&](int, int) { ThreadPool::shared().run(2, [&](int, int) { ++parts; }); });
    });
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(parts.load(), 3 * 5 * 3 * 2);
}

TEST(PartOf, PartsAreWholeStepsAndCoverTheRange) {
  for (int64_t size : {1, 63, 64, 65, 4096, 4100})
    for (int64_t step : {1, 64, 512})
      for (int count : {1, 2, 7, 64}) {
        int64_t expected = 0;
        for (int i = 0; i < count; ++i) {
          const auto [begin, end] = part_of(size, step, i, count);
          ASSERT_EQ(begin, expected);
          ASSERT_TRUE(begin % step == 0 || begin == size);
          expected = end;
        }
        ASSERT_EQ(expected, size);
      }
}

}  // namespace
}  // namespace aqlm_exp::kernels
