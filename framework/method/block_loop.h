// What methods that walk the model block by block share: inputs of each block, second moments, outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "framework/method/method.h"
#include "framework/model/model.h"

namespace aqlm_exp::method {

/// Hidden states in front of block 0. @return [num_samples, seq_len, hidden_size] float32 on the model's device
at::Tensor embed_calibration(const model::Model& model, const Calibration& calibration);

/// Outputs of `block` for all samples, a few at a time, without gradients.
/// @param inputs [num_samples, seq_len, hidden_size] → the same
at::Tensor run_block(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, const at::Tensor& inputs);

/// Accumulates xtx = mean over tokens of x·xᵀ: float32 products of up to 4096 tokens, float64 sums.
class XtxAccumulator {
 public:
  /// @param x [..., in_features] float32
  void add(const at::Tensor& x);
  /// [in_features, in_features] float64; undefined if nothing was added
  at::Tensor mean() const;
  int64_t num_tokens() const { return num_tokens_; }

 private:
  at::Tensor sum_;  // [in_features, in_features] float64
  int64_t num_tokens_ = 0;
};

struct BlockStatistics {
  std::map<std::string, at::Tensor> xtx;  ///< by Linear::role; linears of one stage share a tensor
  at::Tensor outputs;                     ///< [num_samples, seq_len, hidden_size] of the block as it is now
};

/// One pass of all samples through `block`: xtx of the linears of `stages` (each stage's linears share their input) and
/// the block's outputs.
BlockStatistics collect_statistics(model::DecoderBlock& block, const model::RotaryEmbedding& rotary,
                                   const at::Tensor& inputs, const std::vector<std::vector<model::Linear*>>& stages);

}  // namespace aqlm_exp::method
