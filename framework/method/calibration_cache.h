// What a method may ask of the sweep around it: statistics that another trial has computed already, and the blocks that
// an interrupted attempt of this trial had finished. Both are interfaces: a method neither knows nor cares where they
// are kept (framework/trial/tensor_cache.h keeps them in the sweep's folder).
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace aqlm_exp::method {

/// Tensors by name.
using TensorMap = std::map<std::string, at::Tensor>;

/// Shared by all trials of a sweep that have the same model and calibration.
class CalibrationCache {
 public:
  struct Found {
    TensorMap tensors;
    bool shared = false;  ///< an earlier trial had computed them
  };
  virtual ~CalibrationCache() = default;
  /// The tensors called `name`: stored ones, or what `make` returns, which is then stored for the others. The bits are
  /// the same either way. While one trial makes an item, others that want it wait. Must not be called from `make`.
  /// @param device where stored tensors are put
  virtual Found get(const std::string& name, at::Device device, const std::function<TensorMap()>& make) = 0;
};

/// Finished blocks of one trial.
class BlockCheckpoints {
 public:
  virtual ~BlockCheckpoints() = default;
  /// Nothing when the block was not stored, or what was stored is damaged.
  virtual std::optional<TensorMap> load(int64_t block, at::Device device) = 0;
  /// May keep the block in memory for a while before it is written.
  virtual void save(int64_t block, TensorMap tensors) = 0;
};

/// Passes of the whole calibration through one decoder block, by what they were for.
struct PassCounts {
  int64_t computed = 0;  ///< through an unquantised block, on activations of the unquantised model: what can be shared
  int64_t shared = 0;    ///< as above, but taken from the cache: nothing was run
  int64_t own = 0;       ///< on activations that depend on this trial's own quantised weights
};

}  // namespace aqlm_exp::method
