#include "framework/results/merge.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "framework/base/error.h"
#include "framework/base/timer.h"
#include "framework/results/publish.h"
#include "tests/framework/results/sample_record.h"
#include "tests/framework/results/temp_dir.h"

namespace aqlm_exp::results {
namespace {

namespace fs = std::filesystem;

/// Publishes `num` records and describes them as a finished sweep with one failure and one trial still to run.
MergeRequest sample_sweep(const fs::path& root, int num) {
  MergeRequest request;
  request.results_dir = root / "results";
  request.target = root / "sweep.h5";
  request.writer = "aqlm-exp test";
  request.created_utc = "2026-11-24T12:00:00Z";
  request.plan_json = "{\"format\":\"aqlm-exp-plan\"}";
  fs::create_directories(request.results_dir);
  for (int i = 0; i < num + 2; ++i) {
    TrialRecord record = sample_record(std::to_string(i));
    MergeRow row{.id = record.id,
                 .name = record.name,
                 .repeat = 0,
                 .overrides = {fmt::format("quant.nbits={}", i), fmt::format("method={}", i % 2 == 0 ? "aqlm" : "rtn")},
                 .sidecar = {}};
    if (i < num) {
      record.metrics[0].value = 10.0 + i;
      publish(record, request.results_dir);
    } else if (i == num) {
      Sidecar failure{.id = record.id, .name = record.name, .status = "failed", .failure_class = "numerical"};
      failure.message = "loss is NaN";
      failure.exit_code = 22;
      failure.log_tail = {"one", "two"};
      publish_failure(failure, request.results_dir);
    }
    if (i <= num) {
      const fs::path path = sidecar_path(request.results_dir, record.id);
      row.sidecar = parse_sidecar(read_file(path), path.string());
    }
    request.rows.push_back(std::move(row));
  }
  return request;
}

int run_python(const fs::path& script, const fs::path& file) {
  const int status = std::system(fmt::format("/usr/bin/python3 '{}' '{}'", script.string(), file.string()).c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Merge, PythonAndTheCommandLineReadIt) {
  TempDir dir;
  const MergeRequest request = sample_sweep(dir.path(), 3);
  const MergeReport report = merge(request);
  EXPECT_EQ(report.num_copied, 3);
  const fs::path script = fs::path(AQLM_EXP_SOURCE_DIR) / "tests/framework/results/read_sweep.py";
  const int code = run_python(script, request.target);
  if (code == 77) GTEST_SKIP() << "python3-h5py, python3-pandas or python3-tables of the system is not installed";
  EXPECT_EQ(code, 0);
  const std::string dump =
      fmt::format("h5dump -d /summary/table '{}' > '{}' 2>&1", request.target.string(), (dir.path() / "dump").string());
  if (std::system("command -v h5dump > /dev/null") != 0) GTEST_SKIP() << "hdf5-tools is not installed";
  EXPECT_EQ(std::system(dump.c_str()), 0);
  EXPECT_THAT(read_file(dir.path() / "dump"), testing::HasSubstr("numerical"));
  EXPECT_EQ(
      std::system(fmt::format("cd '{}' && sha256sum -c sweep.h5.sha256 > /dev/null", dir.path().string()).c_str()), 0);
}

TEST(Merge, IsDoneAgainOnlyWhenSomethingChanged) {
  TempDir dir;
  MergeRequest request = sample_sweep(dir.path(), 2);
  EXPECT_FALSE(merge(request).was_current);
  EXPECT_TRUE(merge(request).was_current);
  request.rows.pop_back();
  EXPECT_FALSE(merge(request).was_current) << "another plan";
  EXPECT_TRUE(merge(request).was_current);
}

TEST(Merge, ADamagedOrMissingViewIsRebuilt) {
  TempDir dir;
  const MergeRequest request = sample_sweep(dir.path(), 2);
  merge(request);
  const std::string good = read_file(request.target);
  std::string flipped = good;
  flipped[flipped.size() / 2] ^= 4;
  for (const std::string& bad : {std::string(), good.substr(0, 1000), flipped}) {
    std::ofstream(request.target, std::ios::binary) << bad;
    EXPECT_FALSE(merge(request).was_current);
    EXPECT_TRUE(merge(request).was_current);
  }
  fs::remove(request.target);
  EXPECT_FALSE(merge(request).was_current);
  EXPECT_TRUE(fs::exists(request.target));
}

TEST(Merge, LeavesAnUnreadableResultOutAndSaysSo) {
  TempDir dir;
  const MergeRequest request = sample_sweep(dir.path(), 3);
  const fs::path bad = result_path(request.results_dir, request.rows[1].id);
  std::string bytes = read_file(bad);
  bytes[100] ^= 1;
  std::ofstream(bad, std::ios::binary) << bytes;
  const MergeReport report = merge(request);
  EXPECT_EQ(report.num_copied, 2);
  EXPECT_EQ(report.unreadable.size(), 1u);
}

TEST(Merge, SameResultsGiveTheSameBytes) {
  TempDir a, b;
  merge(sample_sweep(a.path(), 3));
  merge(sample_sweep(b.path(), 3));
  EXPECT_EQ(sha256_file(a.path() / "sweep.h5"), sha256_file(b.path() / "sweep.h5"));
}

}  // namespace
}  // namespace aqlm_exp::results
