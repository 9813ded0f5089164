// A model folder's tensors: one safetensors file or several with an index, memory-mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "framework/base/file.h"
#include "framework/checkpoint/safetensors.h"

namespace aqlm_exp::checkpoint {

/// How many values of a tensor are not finite.
struct NonFinite {
  int64_t num_nan = 0;
  int64_t num_inf = 0;
};

class Checkpoint {
 public:
  /// Opens a folder with model.safetensors, or with model.safetensors.index.json and its shards, or one .safetensors
  /// file. Headers and index are checked whole; no tensor data is read.
  /// @throws DataError: codes of parse_safetensors; T-NOTFILE, T-MISSING, T-DENIED; T-PICKLE for a folder with pickles
  /// only;
  ///         T-INDEX-JSON, T-INDEX-PATH (a shard name that is not a plain file name), T-INDEX-MISSING (shard or tensor
  ///         absent, or a tensor the index does not list), T-INDEX-DUP (a tensor in two shards), T-INDEX-SIZE
  ///         (total_size is wrong)
  static Checkpoint open(const std::filesystem::path& folder_or_file);

  /// In the order of their names.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// nullptr if there is none.
  const TensorInfo* find(std::string_view name) const;
  /// @throws DataError (T-MISSING-TENSOR)
  const TensorInfo& at(std::string_view name) const;
  /// The tensor's bytes in the mapped file, row-major, little-endian, at any alignment; valid while any copy of this
  /// checkpoint lives.
  std::span<const std::byte> bytes(const TensorInfo& info) const;
  /// Lets the system drop the tensor's pages.
  void release(const TensorInfo& info) const { files_[info.file].release(info.offset, info.size_bytes); }
  /// NaN and infinite values of a F16, BF16, F32 or F64 tensor; zero for other types.
  NonFinite count_non_finite(const TensorInfo& info) const;

  const std::vector<MappedFile>& files() const { return files_; }
  /// Metadata of all files; the first file that has a key wins.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }
  /// To be called when the last tensor was read. @throws DataError (T-CHANGED) if a file changed since it was opened
  void check_unchanged() const;

 private:
  void add_file(const std::filesystem::path& path);
  void add_index(const std::filesystem::path& folder, const std::filesystem::path& index);
  void finish();

  std::filesystem::path path_;
  std::vector<MappedFile> files_;
  std::vector<TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace aqlm_exp::checkpoint
