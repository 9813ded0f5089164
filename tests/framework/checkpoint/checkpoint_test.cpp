#include "framework/checkpoint/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "tests/framework/checkpoint/fixture.h"

namespace aqlm_exp::checkpoint {
namespace {

namespace fs = std::filesystem;

std::string one_tensor(const std::string& name, const std::string& data) {
  return container("{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[" + std::to_string(data.size()) +
                       "],\"data_offsets\":[0," + std::to_string(data.size()) + "]}}",
                   data);
}

class CheckpointFolder : public ::testing::Test {
 protected:
  CheckpointFolder() : folder_("checkpoint_test") {}
  std::string verdict() const {
    return code_of([&] { Checkpoint::open(folder_.path()); });
  }
  /// Two shards, "a" in one and "b" in the other, and an index.
  void two_shards(const std::string& index) const {
    folder_.write("s1.safetensors", one_tensor("a", "12"));
    folder_.write("s2.safetensors", one_tensor("b", "345"));
    folder_.write("model.safetensors.index.json", index);
  }
  TemporaryFolder folder_;
};

std::string text_of(const Checkpoint& checkpoint, const std::string& name) {
  const auto bytes = checkpoint.bytes(checkpoint.at(name));
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(CheckpointFolder, OpensASingleFileByFolderByNameAndThroughALink) {
  folder_.write("model.safetensors", one_tensor("a", "hello"));
  EXPECT_EQ(text_of(Checkpoint::open(folder_.path()), "a"), "hello");
  EXPECT_EQ(text_of(Checkpoint::open(folder_.path() / "model.safetensors"), "a"), "hello");
  fs::rename(folder_.path() / "model.safetensors", folder_.path() / "blob");  // as Hugging Face's cache lays it out
  fs::create_symlink("blob", folder_.path() / "model.safetensors");
  EXPECT_EQ(text_of(Checkpoint::open(folder_.path()), "a"), "hello");
}

TEST_F(CheckpointFolder, OpensShardsByTheirIndex) {
  two_shards(R"({"metadata":{"total_size":5},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  const Checkpoint checkpoint = Checkpoint::open(folder_.path());
  EXPECT_EQ(text_of(checkpoint, "a"), "12");
  EXPECT_EQ(text_of(checkpoint, "b"), "345");
  EXPECT_EQ(checkpoint.files().size(), 2u);
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_EQ(code_of([&] { checkpoint.at("c"); }), "T-MISSING-TENSOR");
  checkpoint.check_unchanged();
}

TEST_F(CheckpointFolder, ShardNamesMayNotLeaveTheFolder) {
  for (const char* name : {"../../x", "/etc/passwd", "sub/s1.safetensors", "..", ".", "", "a\\\\b", "a\\u0000b"}) {
    two_shards(std::string(R"({"weight_map":{"a":")") + name + R"(","b":"s2.safetensors"}})");
    EXPECT_EQ(verdict(), "T-INDEX-PATH") << name;
  }
}

TEST_F(CheckpointFolder, IndexAndShardsMustAgree) {
  two_shards(R"({"weight_map":{"a":"s1.safetensors","b":"absent.safetensors"}})");
  EXPECT_EQ(verdict(), "T-INDEX-MISSING");
  two_shards(
      R"({"weight_map":{"a":"s1.safetensors","b":"s2.safetensors","c":"s2.safetensors"}})");  // listed, not there
  EXPECT_EQ(verdict(), "T-INDEX-MISSING");
  two_shards(R"({"weight_map":{"a":"s1.safetensors","c":"s2.safetensors"}})");  // there, not listed
  EXPECT_EQ(verdict(), "T-INDEX-MISSING");
  two_shards(R"({"weight_map":{"a":"s2.safetensors","b":"s1.safetensors"}})");  // exchanged
  EXPECT_EQ(verdict(), "T-INDEX-MISSING");
  two_shards(R"({"metadata":{"total_size":6},"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  EXPECT_EQ(verdict(), "T-INDEX-SIZE");
  two_shards(R"({"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})");
  folder_.write("s2.safetensors", one_tensor("a", "345"));
  EXPECT_EQ(verdict(), "T-INDEX-DUP");
  two_shards(R"({"weight_map":{"a":"s1.safetensors","a":"s2.safetensors"}})");
  EXPECT_EQ(verdict(), "T-INDEX-DUP");
}

TEST_F(CheckpointFolder, AnIndexThatIsNoIndexIsRefused) {
  for (const char* index : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})"}) {
    two_shards(index);
    EXPECT_THAT(verdict(), ::testing::StartsWith("T-INDEX-")) << index;
  }
}

TEST_F(CheckpointFolder, ShardsThatAreNotRegularFilesAreRefusedWithoutHanging) {
  const std::string index = R"({"weight_map":{"a":"s1.safetensors","b":"s2.safetensors"}})";
  two_shards(index);
  fs::remove(folder_.path() / "s2.safetensors");
  ASSERT_EQ(::mkfifo((folder_.path() / "s2.safetensors").c_str(), 0600), 0);
  EXPECT_EQ(verdict(), "T-NOTFILE");
  fs::remove(folder_.path() / "s2.safetensors");
  fs::create_symlink("/dev/zero", folder_.path() / "s2.safetensors");
  EXPECT_EQ(verdict(), "T-NOTFILE");
  fs::remove(folder_.path() / "s2.safetensors");
  fs::create_symlink("s2.safetensors", folder_.path() / "s2.safetensors");
  EXPECT_EQ(verdict(), "T-NOTFILE");
  fs::remove(folder_.path() / "s2.safetensors");
  fs::create_directory(folder_.path() / "s2.safetensors");
  EXPECT_EQ(verdict(), "T-NOTFILE");
}

TEST_F(CheckpointFolder, AFolderWithoutSafetensorsSaysWhatToDo) {
  EXPECT_EQ(verdict(), "T-MISSING");
  folder_.write("pytorch_model.bin", "x");
  EXPECT_EQ(verdict(), "T-PICKLE");
  EXPECT_EQ(code_of([&] { Checkpoint::open(folder_.path() / "nowhere"); }), "T-MISSING");
}

TEST_F(CheckpointFolder, AFileThatChangesIsReported) {
  const fs::path path = folder_.write("model.safetensors", one_tensor("a", std::string(20000, 'x')));
  const Checkpoint checkpoint = Checkpoint::open(folder_.path());
  ASSERT_EQ(::truncate(path.c_str(), 100), 0);
  EXPECT_EQ(text_of(checkpoint, "a").size(), 20000u) << "reading a lost page must not end the process";
  EXPECT_EQ(code_of([&] { checkpoint.check_unchanged(); }), "T-CHANGED");
}

TEST_F(CheckpointFolder, NonFiniteValuesAreCounted) {
  const float nan = std::nanf("");
  const float inf = std::numeric_limits<float>::infinity();
  const float values[] = {1.0F, nan, inf, -inf, 0.0F, 3.4e38F};
  const uint16_t halves[] = {0x7C00, 0x7C01, 0xFC00, 0x7BFF};   // inf, nan, -inf, 65504
  const uint16_t bfloats[] = {0x7F80, 0x7FC0, 0xFF80, 0x7F7F};  // inf, nan, -inf, largest
  const auto writer = [](const void* data, size_t size) {
    return [data, size](const ByteSink& sink) { sink({static_cast<const std::byte*>(data), size}); };
  };
  write_safetensors(folder_.path() / "model.safetensors",
                    std::vector<TensorToWrite>{{"f32", Dtype::kF32, {6}, writer(values, sizeof values)},
                                               {"f16", Dtype::kF16, {4}, writer(halves, sizeof halves)},
                                               {"bf16", Dtype::kBF16, {4}, writer(bfloats, sizeof bfloats)}});
  const Checkpoint checkpoint = Checkpoint::open(folder_.path());
  const auto count = [&](const char* name) { return checkpoint.count_non_finite(checkpoint.at(name)); };
  EXPECT_EQ(count("f32").num_nan, 1);
  EXPECT_EQ(count("f32").num_inf, 2);
  EXPECT_EQ(count("f16").num_nan, 1);
  EXPECT_EQ(count("f16").num_inf, 2);
  EXPECT_EQ(count("bf16").num_nan, 1);
  EXPECT_EQ(count("bf16").num_inf, 2);
}

}  // namespace
}  // namespace aqlm_exp::checkpoint
