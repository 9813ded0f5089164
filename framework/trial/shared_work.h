// Where a method's CalibrationCache and BlockCheckpoints are kept: in the sweep's cache, and beside the trial's
// attempts.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "framework/base/timer.h"
#include "framework/method/calibration_cache.h"
#include "framework/text/text_set.h"
#include "framework/trial/sweep_cache.h"

namespace aqlm_exp::trial {

/// Items "cal-<group>-<name>" of a SweepCache. The group stands for everything that the numbers depend on: model,
/// calibration, build, hardware, threads.
class SharedCalibration final : public method::CalibrationCache {
 public:
  SharedCalibration(SweepCache& cache, std::string group_key);
  Found get(const std::string& name, at::Device device, const std::function<method::TensorMap()>& make) override;

 private:
  SweepCache& cache_;
  std::string key_;
  std::string prefix_;
};

/// The tokens of a text, item "ids-..." of the cache. `key` stands for text and tokenizer.
text::TextSet shared_tokens(SweepCache& cache, const std::string& key, const std::function<text::TextSet()>& tokenise);

/// Files block-<i>.bin in one folder. Blocks that are finished quickly are written together, at most every
/// AQLM_EXP_CHECKPOINT_S seconds (10), so that short trials do not pay for what they do not need.
class FileCheckpoints final : public method::BlockCheckpoints {
 public:
  /// @param key of the trial and the build; files of another key are ignored and replaced
  FileCheckpoints(std::filesystem::path dir, std::string key);
  std::optional<method::TensorMap> load(int64_t block, at::Device device) override;
  void save(int64_t block, method::TensorMap tensors) override;

 private:
  std::filesystem::path path_of(int64_t block) const;

  std::filesystem::path dir_;
  std::string key_;
  double interval_s_;
  Stopwatch since_written_;
  std::vector<std::pair<int64_t, method::TensorMap>> pending_;
  bool broken_ = false;  // could not be written once: warned, and not tried again
};

}  // namespace aqlm_exp::trial
