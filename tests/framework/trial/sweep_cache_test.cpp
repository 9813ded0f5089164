// The cache under concurrent trials, kills, damage and a limit.
#include "framework/trial/sweep_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <limits>
#include <thread>

#include "framework/trial/shared_work.h"
#include "framework/trial/tensor_file.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::trial {
namespace {

namespace fs = std::filesystem;

TensorMap some_tensors(double value) {
  return {{"a", at::full({3, 5}, value, at::kDouble)},
          {"b", at::arange(7, at::kHalf)},
          {"empty", at::empty({0, 4}, at::kInt)},
          {"nan", at::full({2}, std::numeric_limits<float>::quiet_NaN(), at::kFloat)}};
}

TEST(TensorFile, GivesBackTheSameBits) {
  TempDir dir;
  const TensorMap tensors = some_tensors(1.0 / 3);
  write_tensor_file(dir.path() / "x.bin", "key", tensors);
  const auto read = read_tensor_file(dir.path() / "x.bin", "key", at::kCPU);
  ASSERT_TRUE(read.has_value());
  ASSERT_EQ(read->size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(read->at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_EQ(read->at(name).sizes(), tensor.sizes()) << name;
    EXPECT_TRUE(read->at(name).equal(tensor) || name == "nan") << name;
  }
  EXPECT_LE(fs::file_size(dir.path() / "x.bin"), tensor_file_bytes(tensors));
}

TEST(TensorFile, AnyFlippedByteOrCutCountsAsAbsent) {
  TempDir dir;
  const fs::path file = dir.path() / "x.bin";
  write_tensor_file(file, "key", {{"a", at::arange(4, at::kFloat)}});
  std::ifstream in(file, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string flipped = whole;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x10);
    std::ofstream(file, std::ios::binary) << flipped;
    EXPECT_FALSE(read_tensor_file(file, "key", at::kCPU).has_value()) << "byte " << i;
    std::ofstream(file, std::ios::binary) << whole.substr(0, i);
    EXPECT_FALSE(read_tensor_file(file, "key", at::kCPU).has_value()) << "cut at " << i;
    EXPECT_FALSE(fs::exists(file)) << "a damaged file makes room for a good one";
  }
  std::ofstream(file, std::ios::binary) << whole;
  EXPECT_FALSE(read_tensor_file(file, "another key", at::kCPU).has_value());
}

TEST(SweepCache, OneOfManyTrialsMakesAnItem) {
  TempDir dir;
  std::atomic<int> made{0}, shared{0};
  std::vector<std::thread> trials;
  for (int i = 0; i < 8; ++i) {
    trials.emplace_back([&] {
      SweepCache cache(dir.path(), 1 << 20);
      SharedCalibration calibration(cache, "one model");
      for (int block = 0; block < 4; ++block) {
        const auto found = calibration.get("block " + std::to_string(block), at::kCPU, [&] {
          ++made;
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
          return some_tensors(block);
        });
        shared += found.shared;
        EXPECT_EQ(found.tensors.at("a")[0][0].item<double>(), block);
      }
    });
  }
  for (std::thread& trial : trials) trial.join();
  EXPECT_EQ(made, 4);
  EXPECT_EQ(shared, 8 * 4 - 4);
}

TEST(SweepCache, AKilledHolderFreesItsLockAndLeavesNothingHalfMade) {
  TempDir dir;
  int out[2];
  ASSERT_EQ(::pipe(out), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(out[1], 1);
    ::execl(AQLM_EXP_CACHE_HOLDER, "cache_holder", dir.path().c_str(), "item", nullptr);
    ::_exit(99);
  }
  ::close(out[1]);
  char bytes[8] = {};
  ASSERT_EQ(::read(out[0], bytes, 7), 7);
  ::close(out[0]);
  SweepCache cache(dir.path(), 1 << 20);
  std::atomic<bool> got{false};
  std::thread waiting([&] {
    const SweepCache::Lock lock(cache, "item");
    got = true;
    EXPECT_TRUE(cache.store("item", 10, [](const fs::path& path) { std::ofstream(path) << "whole"; }));
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(got) << "the item is locked";
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  waiting.join();
  EXPECT_TRUE(got);
  for (const auto& entry : fs::directory_iterator(dir.path())) {
    EXPECT_EQ(entry.path().filename().string().find(".tmp-"), std::string::npos) << entry.path();
  }
}

TEST(SweepCache, StaysBelowItsLimitAndRemovesWhatWasUsedLeastRecently) {
  TempDir dir;
  SweepCache cache(dir.path(), 1000);
  const auto put = [&](const std::string& name) {
    return cache.store(name, 400, [](const fs::path& path) { std::ofstream(path) << std::string(400, 'x'); });
  };
  EXPECT_TRUE(put("old"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(put("older but used"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  cache.touch("old");
  EXPECT_TRUE(put("new"));
  EXPECT_TRUE(fs::exists(cache.path_of("old")));
  EXPECT_FALSE(fs::exists(cache.path_of("older but used")));
  cache.keep("old");
  cache.keep("new");
  EXPECT_FALSE(put("another")) << "what this trial uses itself is not pushed out";
  EXPECT_FALSE(cache.store("huge", 2000, [](const fs::path&) { FAIL() << "does not fit at all"; }));
  EXPECT_FALSE(SweepCache(dir.path(), 0).enabled());
  EXPECT_FALSE(SweepCache({}, 1000).enabled());
}

TEST(SweepCache, AFullDiskIsNoFailureOfTheTrial) {
  TempDir dir;
  SweepCache cache(dir.path(), 1 << 30);
  fs::create_directory(cache.path_of("cal-x"));  // cannot be replaced by a file
  EXPECT_FALSE(cache.store("cal-x", 10, [](const fs::path& path) { write_tensor_file(path, "k", some_tensors(1)); }));
}

TEST(FileCheckpoints, KeepWhatWasSavedNotWhatItBecame) {
  TempDir dir;
  ::setenv("AQLM_EXP_CHECKPOINT_S", "0", 1);
  FileCheckpoints checkpoints(dir.path() / "c", "key");
  at::Tensor weight = at::zeros({2});
  checkpoints.save(0, {{"w", weight}});
  weight.add_(1);
  EXPECT_EQ(checkpoints.load(0, at::kCPU)->at("w")[0].item<float>(), 0);
  EXPECT_FALSE(checkpoints.load(1, at::kCPU).has_value());
  EXPECT_FALSE(FileCheckpoints(dir.path() / "c", "another build").load(0, at::kCPU).has_value());
  ::setenv("AQLM_EXP_CHECKPOINT_S", "1000", 1);
  FileCheckpoints rare(dir.path() / "d", "key");
  rare.save(0, {{"w", weight}});
  EXPECT_FALSE(fs::exists(dir.path() / "d")) << "nothing is written for what was quick";
  ::unsetenv("AQLM_EXP_CHECKPOINT_S");
}

}  // namespace
}  // namespace aqlm_exp::trial
