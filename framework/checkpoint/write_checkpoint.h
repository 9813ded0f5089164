// A model folder's weights as safetensors: one file, or shards with an index when they are large.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "framework/checkpoint/safetensors.h"

namespace aqlm_exp::checkpoint {

/// Writes `folder`/model.safetensors, or model-00001-of-0000N.safetensors and model.safetensors.index.json when the
/// tensors take more than max_shard_bytes. A tensor is never split; one larger than a shard gets a file of its own.
/// @throws DataError, StorageError as write_safetensors
void write_checkpoint(const std::filesystem::path& folder, const std::vector<TensorToWrite>& tensors,
                      uint64_t max_shard_bytes);

/// Copies what stands beside the weights (tokenizer, chat template, generation settings) where the source has it.
/// @throws StorageError
void copy_companion_files(const std::filesystem::path& source, const std::filesystem::path& folder);

/// Makes a folder to save a model in. @throws ConfigError if it is there and holds anything
void make_empty_folder(const std::filesystem::path& folder);

}  // namespace aqlm_exp::checkpoint
