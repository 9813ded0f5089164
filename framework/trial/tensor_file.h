// Tensors in one file of the project's own, for caches and checkpoints: written durably, checked in full when read.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>
#include <string>

#include "framework/method/calibration_cache.h"

namespace aqlm_exp::trial {

using method::TensorMap;

/// Layout: "AQTENS01", the header's length (uint64), the header (JSON: key, and name, dtype, shape of each tensor), the
/// tensors' bytes in that order, SHA-256 of all that (64 hex digits). Little-endian, like every machine we run on.
/// @throws StorageError, with nothing left behind
void write_tensor_file(const std::filesystem::path& path, const std::string& key, const TensorMap& tensors);

/// The tensors on `device`; nothing when there is no such file. A damaged file, or one of another key, is removed with
/// a warning and counts as absent.
std::optional<TensorMap> read_tensor_file(const std::filesystem::path& path, const std::string& key, at::Device device);

/// Bytes that write_tensor_file would write, to within a few KiB.
uint64_t tensor_file_bytes(const TensorMap& tensors);

}  // namespace aqlm_exp::trial
