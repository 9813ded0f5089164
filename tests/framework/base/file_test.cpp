#include "framework/base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "framework/base/error.h"

namespace aqlm_exp {
namespace {

namespace fs = std::filesystem;

class File : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("aqlm_exp_file_test_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  static std::string code_of(const std::function<void()>& use) {
    try {
      use();
    } catch (const Error& error) {
      return error.code();
    }
    return "none";
  }
  static std::string read_code(const fs::path& path) {
    return code_of([&] { read_regular_file(path, 1000, "T"); });
  }
  fs::path folder_;
};

TEST_F(File, ReadsARegularFileAndALinkToOne) {
  const fs::path path = write("a b.txt", std::string("x\0y", 3));
  EXPECT_EQ(read_regular_file(path, 3, "T"), std::string("x\0y", 3));
  fs::create_symlink("a b.txt", folder_ / "link");
  EXPECT_EQ(read_regular_file(folder_ / "link", 3, "T").size(), 3u);
  EXPECT_EQ(code_of([&] { read_regular_file(path, 2, "T"); }), "T-LARGE");
}

TEST_F(File, RefusesWhatIsNotARegularFile) {
  EXPECT_EQ(read_code(folder_ / "absent"), "T-MISSING");
  EXPECT_EQ(read_code(folder_), "T-NOTFILE");
  EXPECT_EQ(read_code("/dev/zero"), "T-NOTFILE");
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_code(folder_ / "fifo"), "T-NOTFILE");
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_EQ(read_code(folder_ / "loop"), "T-NOTFILE");
  fs::create_symlink("/dev/zero", folder_ / "device");
  EXPECT_EQ(read_code(folder_ / "device"), "T-NOTFILE");
  EXPECT_EQ(code_of([&] { MappedFile(folder_ / "fifo", "T"); }), "T-NOTFILE");
}

TEST_F(File, AMapShowsTheBytesAndAnEmptyFileMapsToNothing) {
  const MappedFile mapped(write("m", "hello"), "T");
  ASSERT_EQ(mapped.size_bytes(), 5u);
  EXPECT_EQ(static_cast<char>(mapped.bytes()[4]), 'o');
  mapped.check_unchanged();
  mapped.release(0, 5);
  EXPECT_EQ(static_cast<char>(mapped.bytes()[4]), 'o');
  EXPECT_EQ(MappedFile(write("e", ""), "T").size_bytes(), 0u);
}

TEST_F(File, AFileThatShrinksUnderItsMapIsReportedAndDoesNotKillTheProcess) {
  const fs::path path = write("m", std::string(3 * 4096, 'x'));
  const MappedFile mapped(path, "T");
  ASSERT_EQ(::truncate(path.c_str(), 4096), 0);
  EXPECT_EQ(static_cast<char>(mapped.bytes()[0]), 'x');
  EXPECT_EQ(static_cast<char>(mapped.bytes()[2 * 4096]), '\0');
  EXPECT_EQ(code_of([&] { mapped.check_unchanged(); }), "T-CHANGED");
  // Grown back to its old length, it still is not the file that was opened.
  ASSERT_EQ(::truncate(path.c_str(), 3 * 4096), 0);
  EXPECT_EQ(code_of([&] { mapped.check_unchanged(); }), "T-CHANGED");
}

TEST_F(File, AFailedWriteLeavesTheOldFileAndNoRemains) {
  const fs::path path = write("out", "old");
  EXPECT_THROW(write_file_atomically(path,
                                     [](const ByteSink& sink) {
                                       const std::byte one{1};
                                       sink({&one, 1});
                                       throw DataError("stop");
                                     }),
               DataError);
  EXPECT_EQ(read_regular_file(path, 10, "T"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  write_file_atomically(path, "new");
  EXPECT_EQ(read_regular_file(path, 10, "T"), "new");
  EXPECT_THROW(write_file_atomically(folder_ / "no" / "where", "x"), StorageError);
}

}  // namespace
}  // namespace aqlm_exp
