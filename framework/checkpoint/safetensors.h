// The safetensors container: header reader and writer. The rules are those of the reference loader (safetensors 0.8),
// and stricter where its written specification is (design/experiments.md 5.2). No data is touched while a header is
// checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/file.h"
#include "framework/checkpoint/dtype.h"

namespace aqlm_exp::checkpoint {

/// One tensor of a file.
struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;  ///< empty for a scalar
  size_t file = 0;             ///< index into Checkpoint::files(); 0 for a single file
  uint64_t offset = 0;         ///< first byte, from the start of the file; any alignment
  uint64_t size_bytes = 0;
  int64_t num_elements() const;
};

/// "[out, in]" as text.
std::string shape_text(std::span<const int64_t> shape);

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in the order of their names
  std::map<std::string, std::string> metadata;
};

inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference loader
inline constexpr size_t kMaxTensors = 1'000'000;
inline constexpr size_t kMaxTensorNameBytes = 1024;
inline constexpr size_t kMaxDimensions = 8;

/// Checks and reads the header of a whole file.
/// @param file   all bytes of the file
/// @param where  its name for messages
/// @throws DataError with one of T-HEADER-SHORT, -LENGTH, -LARGE, -UTF8, -JSON, T-DUPLICATE, T-METADATA, T-DTYPE,
/// T-SHAPE,
///         T-OVERFLOW, T-OFFSET, T-TILING, T-SIZE, T-LIMIT, T-NAME
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, std::string_view where);

/// A tensor to be written. `write` gives its bytes in order, size_bytes in all; it is called while the file is written,
/// so that no more than one tensor need exist at a time.
struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::function<void(const ByteSink&)> write;
};

/// Writes a safetensors file atomically, tensors in the order given, `{"format": "pt"}` added to the metadata (Hugging
/// Face's loader looks for it). The data block starts at a multiple of 8.
/// @throws DataError  a name twice, a shape that overflows, or a writer that gives another number of bytes than its
/// shape
/// @throws StorageError
void write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                       std::map<std::string, std::string> metadata = {});

}  // namespace aqlm_exp::checkpoint
