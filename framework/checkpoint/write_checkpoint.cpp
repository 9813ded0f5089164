#include "framework/checkpoint/write_checkpoint.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>

#include "framework/base/error.h"

namespace aqlm_exp::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::array kCompanions = {"tokenizer.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "vocab.json",
                                    "merges.txt",
                                    "tokenizer.model",
                                    "spiece.model",
                                    "chat_template.jinja",
                                    "chat_template.json",
                                    "generation_config.json"};

uint64_t size_bytes(const TensorToWrite& tensor) {
  uint64_t bits = static_cast<uint64_t>(dtype_bits(tensor.dtype));
  for (const int64_t dimension : tensor.shape) bits *= static_cast<uint64_t>(dimension);
  return bits / 8;
}

}  // namespace

void write_checkpoint(const fs::path& folder, const std::vector<TensorToWrite>& tensors, uint64_t max_shard_bytes) {
  std::vector<std::pair<size_t, size_t>> shards;  // first tensor, one past the last
  uint64_t total = 0, in_shard = 0;
  size_t first = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const uint64_t size = size_bytes(tensors[i]);
    if (i > first && in_shard + size > max_shard_bytes) {
      shards.emplace_back(first, i);
      first = i;
      in_shard = 0;
    }
    in_shard += size;
    total += size;
  }
  shards.emplace_back(first, tensors.size());
  if (shards.size() == 1) {
    write_safetensors(folder / "model.safetensors", tensors);
    return;
  }
  nlohmann::ordered_json map = nlohmann::ordered_json::object();
  for (size_t s = 0; s < shards.size(); ++s) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    const auto [begin, end] = shards[s];
    write_safetensors(folder / name, std::span(tensors).subspan(begin, end - begin));
    for (size_t i = begin; i < end; ++i) map[tensors[i].name] = name;
  }
  const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
  write_file_atomically(folder / "model.safetensors.index.json", index.dump(1) + "\n");
}

void copy_companion_files(const fs::path& source, const fs::path& folder) {
  for (const char* name : kCompanions) {
    if (!fs::is_regular_file(source / name)) continue;
    constexpr uint64_t kMaxBytes = uint64_t{256} << 20;
    write_file_atomically(folder / name, read_regular_file(source / name, kMaxBytes, "T"));
  }
}

void make_empty_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw StorageError(fmt::format("{}: cannot be made: {}", folder.string(), error.message()));
  if (!fs::is_empty(folder, error) || error) {
    throw ConfigError(fmt::format("{}: holds files already; name a new folder to save the model in", folder.string()));
  }
}

}  // namespace aqlm_exp::checkpoint
