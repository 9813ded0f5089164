#include "framework/base/sha256.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "framework/base/error.h"

namespace aqlm_exp {
namespace {

// FIPS 180-4 examples, as published by NIST.
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kMillionA = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

TEST(Sha256, MatchesPublishedVectors) {
  EXPECT_EQ(sha256_hex(""), kEmpty);
  EXPECT_EQ(sha256_hex("abc"), kAbc);
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')), kMillionA);
}

TEST(Sha256, PiecesGiveTheHashOfTheWhole) {
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.update(std::string(1000, 'a'));
  EXPECT_EQ(hash.hex(), kMillionA);
}

TEST(Sha256, HashesFilesLargerThanItsBuffer) {
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "aqlm_exp_sha256_test.bin";
  const std::string bytes((3 << 20) + 17, 'x');
  std::ofstream(file, std::ios::binary) << bytes;
  EXPECT_EQ(sha256_file(file), sha256_hex(bytes));
  std::filesystem::remove(file);
}

TEST(Sha256, RefusesFoldersAndMissingFiles) {
  EXPECT_THROW(sha256_file(std::filesystem::temp_directory_path()), DataError);
  EXPECT_THROW(sha256_file("/nonexistent/file"), DataError);
}

}  // namespace
}  // namespace aqlm_exp
