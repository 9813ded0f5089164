// A model folder of any size with random bfloat16 weights, written shard by shard without holding more than one
// tensor's piece: what memory measurements run on. Blocks after the first few can be holes in their files (zeros that
// take no disk).
//
//   make_random_model CONFIG.json OUT_DIR --blocks-with-data 2
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "framework/base/error.h"
#include "framework/base/file.h"
#include "framework/base/rng.h"
#include "framework/checkpoint/expected_tensors.h"
#include "framework/checkpoint/model_config.h"
#include "framework/checkpoint/safetensors.h"

namespace aqlm_exp {
namespace {

namespace fs = std::filesystem;
using checkpoint::ExpectedTensor;

uint16_t bfloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

uint64_t num_elements(const ExpectedTensor& tensor) {
  uint64_t count = 1;
  for (const int64_t size : tensor.shape) count *= static_cast<uint64_t>(size);
  return count;
}

class Writer {
 public:
  /// @param norm  value of every weight of a norm
  Writer(uint64_t seed, double deviation, float norm) : rng_(seed), norm_(bfloat16(norm)), table_(1 << 16) {
    Rng draws = rng_.fork("table");
    for (uint16_t& entry : table_) entry = bfloat16(static_cast<float>(draws.normal() * deviation));
  }

  void random_shard(const fs::path& path, const std::vector<ExpectedTensor>& tensors) const {
    std::vector<checkpoint::TensorToWrite> out;
    for (const ExpectedTensor& tensor : tensors) {
      out.push_back({tensor.name, checkpoint::Dtype::kBF16, tensor.shape,
                     [this, &tensor](const ByteSink& sink) { fill(sink, tensor); }});
    }
    checkpoint::write_safetensors(path, out);
  }

  /// The header of a shard, and a hole for its data.
  static void empty_shard(const fs::path& path, const std::vector<ExpectedTensor>& tensors) {
    nlohmann::ordered_json json;
    json["__metadata__"] = {{"format", "pt"}};
    uint64_t offset = 0;
    for (const ExpectedTensor& tensor : tensors) {
      const uint64_t end = offset + 2 * num_elements(tensor);
      json[tensor.name] = {{"dtype", "BF16"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
      offset = end;
    }
    const std::string header = json.dump();
    std::ofstream file(path, std::ios::binary);
    const uint64_t length = header.size();
    for (int byte = 0; byte < 8; ++byte) file.put(static_cast<char>(length >> (8 * byte) & 0xFF));
    file << header;
    file.close();
    if (!file) throw StorageError(fmt::format("{}: cannot be written", path.string()));
    fs::resize_file(path, 8 + length + offset);
  }

 private:
  void fill(const ByteSink& sink, const ExpectedTensor& tensor) const {
    const bool is_norm = tensor.name.find("norm") != std::string::npos;
    Rng rng = rng_.fork(tensor.name);
    std::vector<uint16_t> piece;
    for (uint64_t count = num_elements(tensor); count > 0;) {
      piece.assign(std::min<uint64_t>(count, 1 << 18), norm_);
      for (size_t i = 0; !is_norm && i < piece.size(); i += 4) {
        uint64_t bits = rng.next();
        for (size_t j = i; j < std::min(i + 4, piece.size()); ++j, bits >>= 16) piece[j] = table_[bits & 0xFFFF];
      }
      sink(std::as_bytes(std::span(piece)));
      count -= piece.size();
    }
  }

  Rng rng_;
  uint16_t norm_;
  std::vector<uint16_t> table_;  // a normal distribution, drawn from by 16 random bits
};

void make(const fs::path& config_file, const fs::path& folder, int64_t blocks_with_data, uint64_t seed,
          double deviation) {
  const std::string text = read_regular_file(config_file, 16 << 20, "J");
  const checkpoint::ModelConfig config = checkpoint::parse_model_config(text, config_file.string());
  fs::create_directories(folder);
  std::vector<std::vector<ExpectedTensor>> shards(static_cast<size_t>(config.num_layers) + 1);  // last: the rest
  for (const ExpectedTensor& tensor : checkpoint::expected_tensors(config)) {
    constexpr std::string_view kLayers = "model.layers.";
    const bool in_layer = tensor.name.rfind(kLayers, 0) == 0;
    const size_t shard = in_layer ? std::stoul(tensor.name.substr(kLayers.size())) : shards.size() - 1;
    shards[shard].push_back(tensor);
  }
  const Writer writer(seed, deviation, config.norm_adds_one ? 0.0F : 1.0F);
  nlohmann::ordered_json map;
  uint64_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    const bool with_data = i + 1 == shards.size() || static_cast<int64_t>(i) < blocks_with_data;
    if (with_data) {
      writer.random_shard(folder / name, shards[i]);
    } else {
      Writer::empty_shard(folder / name, shards[i]);
    }
    for (const ExpectedTensor& tensor : shards[i]) {
      map[tensor.name] = name;
      total += 2 * num_elements(tensor);
    }
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file_atomically(folder / "model.safetensors.index.json", index.dump(1));
  write_file_atomically(folder / "config.json", text);
  fmt::print("{}: {} shards, {:.2f} GiB of weights, {} blocks with data\n", folder.string(), shards.size(),
             static_cast<double>(total) / (1 << 30), std::min(blocks_with_data, config.num_layers));
}

}  // namespace
}  // namespace aqlm_exp

int main(int argc, char** argv) {
  CLI::App app("a model folder with random weights");
  std::string config, out;
  int64_t blocks = 1 << 20;
  uint64_t seed = 0;
  double deviation = 0.02;
  app.add_option("CONFIG", config, "config.json")->required();
  app.add_option("OUT_DIR", out, "folder to write")->required();
  app.add_option("--blocks-with-data", blocks, "later blocks are zeros that take no disk");
  app.add_option("--seed", seed, "of the weights");
  app.add_option("--deviation", deviation, "standard deviation of the weights");
  CLI11_PARSE(app, argc, argv);
  try {
    aqlm_exp::make(config, out, blocks, seed, deviation);
  } catch (const aqlm_exp::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.exit_code());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
