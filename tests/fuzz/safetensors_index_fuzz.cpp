// model.safetensors.index.json beside two sound shards: opened whole, every tensor touched.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "framework/base/error.h"
#include "framework/checkpoint/checkpoint.h"
#include "tests/fuzz/libfuzzer.h"

namespace {

namespace fs = std::filesystem;

struct Folder {
  fs::path path;
  Folder() {
    const fs::path memory = fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path();
    path = memory / ("aqlm_exp_index_fuzz_" + std::to_string(::getpid()));
    fs::create_directories(path);
    shard("s1.safetensors", "a");
    shard("s2.safetensors", "b");
  }
  ~Folder() { fs::remove_all(path); }
  void shard(const std::string& name, const std::string& tensor) const {
    const std::string header = "{\"" + tensor + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
    std::string file;
    for (size_t i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xFF);
    std::ofstream(path / name, std::ios::binary) << file << header << "xy";
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Folder folder;
  std::ofstream(folder.path / "model.safetensors.index.json", std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    const auto checkpoint = aqlm_exp::checkpoint::Checkpoint::open(folder.path);
    for (const auto& info : checkpoint.tensors()) {
      if (checkpoint.bytes(info).size() != 2) std::abort();
    }
    if (checkpoint.tensors().size() != checkpoint.files().size()) std::abort();
  } catch (const aqlm_exp::DataError& error) {
    if (error.code().empty()) std::abort();
  }
  return 0;
}
