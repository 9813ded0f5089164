// A file system of 200 KiB: nothing half-published, a message with the free bytes, and success once there is space.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "framework/base/error.h"
#include "framework/results/merge.h"
#include "framework/results/publish.h"
#include "tests/framework/results/sample_record.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::results {
namespace {

namespace fs = std::filesystem;

/// A mounted tmpfs; ok() is false where mounting is not permitted.
class SmallDisk {
 public:
  SmallDisk() { ok_ = ::mount("none", dir_.path().c_str(), "tmpfs", 0, "size=200k") == 0; }
  ~SmallDisk() {
    if (ok_) ::umount2(dir_.path().c_str(), MNT_DETACH);
  }
  bool ok() const { return ok_; }
  const fs::path& path() const { return dir_.path(); }

 private:
  TempDir dir_;
  bool ok_ = false;
};

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  return names;
}

TEST(FullDisk, PublishesAllOrNothing) {
  SmallDisk disk;
  if (!disk.ok()) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  const fs::path ballast = disk.path() / "ballast";
  const TrialRecord record = sample_record();
  bool published = false;
  int refusals = 0;
  // From a full disk to one with room, page by page: every amount of free space in between is met.
  for (int free_kib = 0; free_kib <= 120 && !published; free_kib += 4) {
    std::ofstream(ballast, std::ios::binary) << std::string(static_cast<size_t>(200 - free_kib) * 1024, 'x');
    try {
      publish(record, disk.path());
      published = true;
    } catch (const StorageError& error) {
      ++refusals;
      EXPECT_EQ(error.code(), "R-SPACE") << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr("bytes free"));
      EXPECT_THAT(names_in(disk.path()), testing::ElementsAre("ballast")) << "with " << free_kib << " KiB";
    }
  }
  EXPECT_TRUE(published);
  EXPECT_GT(refusals, 3);
  EXPECT_EQ(read_published(disk.path(), record.id).id, record.id);
}

TEST(FullDisk, AMergeThatFailsLeavesTheOldViewAlone) {
  SmallDisk disk;
  if (!disk.ok()) GTEST_SKIP() << "mounting a tmpfs is not permitted here";
  const fs::path target = disk.path() / "sweep.h5";
  MergeRequest request;
  request.results_dir = disk.path();
  request.target = target;
  request.plan_json = "{}";
  const TrialRecord record = sample_record();
  publish(record, disk.path());
  const fs::path json = sidecar_path(disk.path(), record.id);
  request.rows = {{.id = record.id,
                   .name = record.name,
                   .repeat = 0,
                   .overrides = {},
                   .sidecar = parse_sidecar(read_file(json), json.string())}};
  merge(request);
  const std::string before = read_file(target);
  std::ofstream(disk.path() / "ballast", std::ios::binary) << std::string(200 * 1024, 'x');
  request.plan_json = "{\"other\":1}";
  EXPECT_THROW(merge(request), StorageError);
  EXPECT_EQ(read_file(target), before);
  for (const std::string& name : names_in(disk.path())) EXPECT_THAT(name, testing::Not(testing::StartsWith(".tmp-")));
}

}  // namespace
}  // namespace aqlm_exp::results
