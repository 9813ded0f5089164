// What the linears of a block see: inputs of its stages, for all samples or as they stream by.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "framework/method/block_loop.h"
#include "framework/model/model.h"

namespace aqlm_exp::method {

/// Runs `inputs` through `block`, some samples at a time, and shows the inputs of each stage (those of its first linear).
/// @param inputs [num_samples, seq_len, hidden_size] float32
/// @param want_outputs otherwise a pass ends as soon as the last stage was seen
/// @param see called with the stage's index, the first sample of the batch, and x [batch, seq_len, in_features]
/// @return the block's outputs, or an undefined tensor
at::Tensor stream_stage_inputs(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                               const at::Tensor& inputs, const Stages& stages, bool want_outputs,
                               const std::function<void(size_t stage, int64_t sample, const at::Tensor& x)>& see);

/// The float model's side of one block, kept while the block is quantised.
struct FloatActivations {
  std::vector<at::Tensor> stage_inputs;  ///< one a stage, [num_samples, seq_len, in_features]; empty if not asked for
  at::Tensor outputs;                    ///< [num_samples, seq_len, hidden_size]
};
FloatActivations float_activations(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                                   const at::Tensor& inputs, bool keep_stage_inputs);

}  // namespace aqlm_exp::method
