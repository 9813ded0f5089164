// Block fine-tuners: train what is continuous in a quantised decoder block against target outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "framework/base/rng.h"
#include "framework/config/reader.h"
#include "framework/config/registry.h"

namespace aqlm_exp::finetune {

/// What a fine-tuner works on. Knows no model: a block is a differentiable function of its parameters.
struct BlockTask {
  std::function<at::Tensor(const at::Tensor& inputs)> forward;  ///< [B, T, hidden] → [B, T, hidden]
  std::vector<at::Tensor> parameters;                           ///< leaf tensors, changed in place
  at::Tensor inputs;                                            ///< [num_samples, T, hidden] float32
  at::Tensor targets;                                           ///< [num_samples, T, hidden] float32
  std::string name;                                             ///< for messages and progress
};

struct BlockReport {
  double loss_before = 0.0;  ///< mean squared error over the training samples (validation ones if there are)
  double loss_after = 0.0;
  std::vector<double> epoch_losses;  ///< mean training loss of each epoch
  int64_t num_epochs = 0;
};

class BlockFinetuner {
 public:
  virtual ~BlockFinetuner() = default;
  /// Changes task.parameters in place. @throws NumericalError if the loss becomes NaN or infinite
  virtual BlockReport finetune(const BlockTask& task, Rng& rng) const = 0;
  /// False for `none`: no targets need to be kept.
  virtual bool is_active() const { return true; }
};

using BlockFinetunerRegistry = config::Registry<BlockFinetuner>;

void register_none(BlockFinetunerRegistry& registry);
void register_block_mse(BlockFinetunerRegistry& registry);

/// Every built-in block fine-tuner.
const BlockFinetunerRegistry& block_finetuners();

}  // namespace aqlm_exp::finetune
