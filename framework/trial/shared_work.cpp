#include "framework/trial/shared_work.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "framework/base/error.h"
#include "framework/base/log.h"
#include "framework/base/sha256.h"
#include "framework/trial/tensor_file.h"

namespace aqlm_exp::trial {
namespace {

constexpr double kCheckpointIntervalS = 10;

double checkpoint_interval_s() {
  const char* text = std::getenv("AQLM_EXP_CHECKPOINT_S");
  if (text == nullptr || *text == '\0') return kCheckpointIntervalS;
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0)) {
    throw ConfigError(fmt::format("AQLM_EXP_CHECKPOINT_S: got \"{}\", need seconds, 0 for every block", text));
  }
  return value;
}

}  // namespace

SharedCalibration::SharedCalibration(SweepCache& cache, std::string group_key)
    : cache_(cache), key_(std::move(group_key)), prefix_("cal-" + sha256_hex(key_).substr(0, 16) + "-") {
  cache_.keep(prefix_);
}

method::CalibrationCache::Found SharedCalibration::get(const std::string& name, at::Device device,
                                                       const std::function<method::TensorMap()>& make) {
  if (!cache_.enabled()) return {.tensors = make(), .shared = false};
  const std::string item = prefix_ + sha256_hex(name).substr(0, 16);
  const std::string key = key_ + " | " + name;
  const SweepCache::Lock lock(cache_, item);
  if (auto stored = read_tensor_file(cache_.path_of(item), key, device)) {
    cache_.touch(item);
    return {.tensors = std::move(*stored), .shared = true};
  }
  method::TensorMap tensors = make();
  cache_.store(item, tensor_file_bytes(tensors),
               [&](const std::filesystem::path& path) { write_tensor_file(path, key, tensors); });
  return {.tensors = std::move(tensors), .shared = false};
}

text::TextSet shared_tokens(SweepCache& cache, const std::string& key, const std::function<text::TextSet()>& tokenise) {
  if (!cache.enabled()) return tokenise();
  const std::string item = "ids-" + sha256_hex(key).substr(0, 16);
  cache.keep(item);
  const SweepCache::Lock lock(cache, item);
  if (const auto stored = read_tensor_file(cache.path_of(item), key, at::kCPU)) {
    cache.touch(item);
    text::TextSet set;
    const at::Tensor ids = stored->at("ids");
    set.ids.assign(ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + ids.numel());
    set.ids_sha256 = text::ids_sha256(set.ids);
    const at::Tensor digits = stored->at("text_sha256");
    set.text_sha256.assign(static_cast<const char*>(digits.data_ptr()), static_cast<size_t>(digits.numel()));
    return set;
  }
  text::TextSet set = tokenise();
  at::Tensor ids = at::empty({static_cast<int64_t>(set.ids.size())}, at::kInt);
  std::copy(set.ids.begin(), set.ids.end(), ids.data_ptr<int32_t>());
  at::Tensor digits = at::empty({static_cast<int64_t>(set.text_sha256.size())}, at::kByte);
  std::copy(set.text_sha256.begin(), set.text_sha256.end(), static_cast<char*>(digits.data_ptr()));
  const TensorMap tensors = {{"ids", ids}, {"text_sha256", digits}};
  cache.store(item, tensor_file_bytes(tensors),
              [&](const std::filesystem::path& path) { write_tensor_file(path, key, tensors); });
  return set;
}

FileCheckpoints::FileCheckpoints(std::filesystem::path dir, std::string key)
    : dir_(std::move(dir)), key_(std::move(key)), interval_s_(checkpoint_interval_s()) {}

std::filesystem::path FileCheckpoints::path_of(int64_t block) const {
  return dir_ / fmt::format("block-{}.bin", block);
}

std::optional<method::TensorMap> FileCheckpoints::load(int64_t block, at::Device device) {
  return read_tensor_file(path_of(block), fmt::format("{} block {}", key_, block), device);
}

void FileCheckpoints::save(int64_t block, method::TensorMap tensors) {
  if (broken_) return;
  // What is finished may still be changed in place later, by training across blocks: the copy is what it is now.
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true);
  pending_.emplace_back(block, std::move(tensors));
  if (since_written_.elapsed_s() < interval_s_) return;
  try {
    std::error_code ignored;
    std::filesystem::create_directories(dir_, ignored);
    for (const auto& [index, stored] : pending_) {
      write_tensor_file(path_of(index), fmt::format("{} block {}", key_, index), stored);
    }
  } catch (const StorageError& error) {
    broken_ = true;
    log_warning("{}; this trial goes on without checkpoints", error.what());
  }
  pending_.clear();
  since_written_.restart();
}

}  // namespace aqlm_exp::trial
