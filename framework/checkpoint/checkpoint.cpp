#include "framework/checkpoint/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "framework/base/error.h"
#include "framework/base/json_fields.h"
#include "framework/base/log.h"
#include "framework/base/strict_json.h"

namespace aqlm_exp::checkpoint {
namespace {

namespace fs = std::filesystem;
constexpr uint64_t kMaxIndexBytes = 256ULL << 20;
constexpr size_t kMaxShards = 2048;
constexpr const char* kSingleName = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\\\0", 3)) == std::string::npos;
}

[[noreturn]] void fail_without_safetensors(const fs::path& folder) {
  std::vector<std::string> pickles;
  std::vector<std::string> others;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const std::string extension = it->path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth") pickles.push_back(name);
    if (extension == ".safetensors" && name != "golden.safetensors") others.push_back(name);
    if (pickles.size() + others.size() >= 1000) break;
  }
  std::sort(pickles.begin(), pickles.end());
  std::sort(others.begin(), others.end());
  if (!others.empty()) {
    throw DataError(fmt::format("{}: neither {} nor {}; found {}. Name one file to read it alone", folder.string(),
                                kSingleName, kIndexName, fmt::join(others, ", ")),
                    "T-MISSING");
  }
  if (!pickles.empty()) {
    throw DataError(
        fmt::format(
            "{}: weights only as Python pickles ({}{}), need safetensors; pickles can run code and are not read. "
            "Convert once: python -c \"from transformers import AutoModelForCausalLM as M; "
            "M.from_pretrained('{}', torch_dtype='auto').save_pretrained('OUT', safe_serialization=True)\"",
            folder.string(), pickles.front(), pickles.size() > 1 ? ", ..." : "", folder.string()),
        "T-PICKLE");
  }
  throw DataError(
      fmt::format("{}: holds neither {} nor {}; is this the model's folder?", folder.string(), kSingleName, kIndexName),
      "T-MISSING");
}

/// Counts in an unsigned pattern with `mantissa_bits` bits of mantissa below an exponent.
template <typename Word>
NonFinite count_patterns(std::span<const std::byte> bytes, int mantissa_bits, Word exponent_mask) {
  NonFinite result;
  const Word mantissa_mask = static_cast<Word>((Word{1} << mantissa_bits) - 1);
  for (size_t i = 0; i + sizeof(Word) <= bytes.size(); i += sizeof(Word)) {
    Word word;
    std::memcpy(&word, bytes.data() + i, sizeof(Word));  // tensors start at any offset
    if ((word & exponent_mask) != exponent_mask) continue;
    if ((word & mantissa_mask) != 0) {
      ++result.num_nan;
    } else {
      ++result.num_inf;
    }
  }
  return result;
}

}  // namespace

void Checkpoint::add_file(const fs::path& path) {
  MappedFile file(path, "T");
  SafetensorsHeader header = parse_safetensors(file.bytes(), path.string());
  for (TensorInfo& info : header.tensors) {
    info.file = files_.size();
    tensors_.push_back(std::move(info));
  }
  metadata_.merge(header.metadata);
  files_.push_back(std::move(file));
}

void Checkpoint::add_index(const fs::path& folder, const fs::path& index) {
  const JsonLimits limits{.max_bytes = kMaxIndexBytes, .max_depth = 8, .max_values = 4 * kMaxTensors};
  const JsonCodes codes{.syntax = "T-INDEX-JSON",
                        .utf8 = "T-INDEX-JSON",
                        .duplicate = "T-INDEX-DUP",
                        .depth = "T-INDEX-JSON",
                        .limit = "T-LIMIT"};
  const nlohmann::json json = read_strict_json(index, "T", limits, codes);
  const JsonFields fields(json, index.string(), "", "T-INDEX");
  const nlohmann::json& map = fields.require("weight_map");
  if (!map.is_object()) fields.fail("weight_map", "TYPE", fmt::format("got {}, need an object", json_excerpt(map)));

  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards;
  for (const auto& [tensor, value] : map.items()) {
    if (!value.is_string())
      fields.fail("weight_map." + tensor, "TYPE", fmt::format("got {}, need a file name", json_excerpt(value)));
    const std::string shard = value.get<std::string>();
    if (!is_plain_file_name(shard)) {
      throw DataError(
          fmt::format("{}: weight_map.{}: \"{}\" leads elsewhere; a shard must be a file name in the same folder",
                      index.string(), tensor, shard),
          "T-INDEX-PATH");
    }
    shards.insert(shard);
    shard_of[tensor] = shard;
    if (shards.size() > kMaxShards) {
      throw DataError(fmt::format("{}: more than {} shards", index.string(), kMaxShards), "T-LIMIT");
    }
  }
  std::vector<std::string> shard_names(shards.begin(), shards.end());
  for (const std::string& shard : shard_names) {
    std::error_code error;
    if (!fs::exists(fs::symlink_status(folder / shard, error))) {
      throw DataError(fmt::format("{}: shard \"{}\" is not in the folder; download it again", index.string(), shard),
                      "T-INDEX-MISSING");
    }
    add_file(folder / shard);
  }
  finish();  // sorted by name and checked for duplicates
  uint64_t total_bytes = 0;
  for (const TensorInfo& info : tensors_) {
    total_bytes += info.size_bytes;
    const auto listed = shard_of.find(info.name);
    if (listed == shard_of.end()) {
      throw DataError(
          fmt::format("{}: tensor \"{}\" of {} is not listed", index.string(), info.name, shard_names[info.file]),
          "T-INDEX-MISSING");
    }
    if (listed->second != shard_names[info.file]) {
      throw DataError(fmt::format("{}: tensor \"{}\" is listed for {}, but lies in {}", index.string(), info.name,
                                  listed->second, shard_names[info.file]),
                      "T-INDEX-MISSING");
    }
  }
  for (const auto& [tensor, shard] : shard_of) {
    if (find(tensor) == nullptr) {
      throw DataError(
          fmt::format("{}: tensor \"{}\" is listed, but {} does not hold it", index.string(), tensor, shard),
          "T-INDEX-MISSING");
    }
  }
  const auto metadata = fields.object_if("metadata");
  if (metadata && metadata->has("total_size")) {
    const double total = metadata->number("total_size", 0, 0x1p62);  // some writers store it as a float
    if (total != static_cast<double>(total_bytes)) {
      throw DataError(
          fmt::format("{}: metadata.total_size: got {:.0f}, the shards hold {} bytes of tensors; a shard may be from "
                      "another upload. If the shards are right, delete the entry",
                      index.string(), total, total_bytes),
          "T-INDEX-SIZE");
    }
  }
}

void Checkpoint::finish() {
  std::sort(tensors_.begin(), tensors_.end(), [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(tensors_.begin(), tensors_.end(),
                                        [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; });
  if (twice != tensors_.end()) {
    throw DataError(fmt::format("{}: tensor \"{}\" lies in {} and in {}", path_.string(), twice->name,
                                files_[twice->file].path().filename().string(),
                                files_[std::next(twice)->file].path().filename().string()),
                    "T-INDEX-DUP");
  }
}

Checkpoint Checkpoint::open(const fs::path& folder_or_file) {
  Checkpoint checkpoint;
  checkpoint.path_ = folder_or_file;
  std::error_code error;
  if (!fs::is_directory(folder_or_file, error)) {
    checkpoint.add_file(folder_or_file);
    checkpoint.finish();
    return checkpoint;
  }
  const fs::path single = folder_or_file / kSingleName;
  const fs::path index = folder_or_file / kIndexName;
  const bool has_single = fs::exists(fs::symlink_status(single, error));
  const bool has_index = fs::exists(fs::symlink_status(index, error));
  if (has_single) {
    if (has_index)
      log_warning("{}: holds both {} and {}; reading the first", folder_or_file.string(), kSingleName, kIndexName);
    checkpoint.add_file(single);
    checkpoint.finish();
  } else if (has_index) {
    checkpoint.add_index(folder_or_file, index);
  } else {
    fail_without_safetensors(folder_or_file);
  }
  return checkpoint;
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto place = std::lower_bound(tensors_.begin(), tensors_.end(), name,
                                      [](const TensorInfo& info, std::string_view key) { return info.name < key; });
  return place != tensors_.end() && place->name == name ? &*place : nullptr;
}

const TensorInfo& Checkpoint::at(std::string_view name) const {
  const TensorInfo* info = find(name);
  if (info == nullptr) {
    throw DataError(fmt::format("{}: tensor \"{}\" is missing", path_.string(), name), "T-MISSING-TENSOR");
  }
  return *info;
}

std::span<const std::byte> Checkpoint::bytes(const TensorInfo& info) const {
  return files_[info.file].bytes().subspan(info.offset, info.size_bytes);
}

NonFinite Checkpoint::count_non_finite(const TensorInfo& info) const {
  static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");
  switch (info.dtype) {
    case Dtype::kF16:
      return count_patterns<uint16_t>(bytes(info), 10, 0x7C00);
    case Dtype::kBF16:
      return count_patterns<uint16_t>(bytes(info), 7, 0x7F80);
    case Dtype::kF32:
      return count_patterns<uint32_t>(bytes(info), 23, 0x7F800000U);
    case Dtype::kF64:
      return count_patterns<uint64_t>(bytes(info), 52, 0x7FF0000000000000ULL);
    default:
      return {};
  }
}

void Checkpoint::check_unchanged() const {
  for (const MappedFile& file : files_) file.check_unchanged();
}

}  // namespace aqlm_exp::checkpoint
