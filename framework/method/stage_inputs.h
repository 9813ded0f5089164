// What the linears of a block see: inputs of its stages, for all samples or as they stream by.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "framework/method/block_loop.h"
#include "framework/model/model.h"

namespace aqlm_exp::method {

/// Runs `inputs` through `block`, some samples at a time, and shows the inputs of each stage (those of its first
/// linear).
/// @param inputs [num_samples, seq_len, hidden_size] float32
/// @param want_outputs otherwise a pass ends as soon as the last stage was seen
/// @param see called with the stage's index, the first sample of the batch, and x [batch, seq_len, in_features]
/// @param see_outputs called after each batch with its first sample and outputs, if want_outputs; may be null
/// @return the block's outputs, or an undefined tensor
at::Tensor stream_stage_inputs(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                               const at::Tensor& inputs, const Stages& stages, bool want_outputs,
                               const std::function<void(size_t stage, int64_t sample, const at::Tensor& x)>& see,
                               const std::function<void(int64_t sample, const at::Tensor& out)>& see_outputs = nullptr);

/// One pass of all samples through a block without experts, in the steps of its stages: {q, k, v}, {o}, {gate, up},
/// {down}. Each goes on from what the one before left, so that all stages and the outputs together cost one forward
/// pass, and what a stage reads has passed through the linears before it as they were when it was asked for.
/// Holds [num_samples, seq_len] of hidden_size and of the larger of what o_proj and down_proj read, and the quantised
/// linears of the block decoded, which in tensors of some samples at a time would be done over and over.
class StagedPass {
 public:
  static constexpr size_t kNumStages = 4;
  /// @param inputs [num_samples, seq_len, hidden_size] float32; block and rotary must outlive the pass
  /// @param dtype of linears and attention; norms and the residual stream stay float32, and so does what is returned
  StagedPass(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, at::Tensor inputs,
             at::ScalarType dtype = at::kFloat);

  /// Samples to ask for at a time: bounds the memory of attention and MLP.
  int64_t step() const;
  /// What linears of `stage` read, [end - begin, seq_len, in_features]. Stages must be asked for in order, one after
  /// the other for all samples.
  at::Tensor stage_inputs(size_t stage, int64_t begin, int64_t end);
  /// The outputs, [end - begin, seq_len, hidden_size], of the block as it was when the last stage's inputs were asked
  /// for.
  at::Tensor outputs(int64_t begin, int64_t end) const;
  /// Of all samples, as the block is now.
  at::Tensor outputs();

 private:
  at::Tensor& kept(at::Tensor& state, const at::Tensor& like) const;

  const model::DecoderBlock& block_;
  model::DecoderBlock running_;  // block_ as it was when the stage began, decoded
  const model::RotaryEmbedding& rotary_;
  at::Tensor inputs_;
  at::ScalarType dtype_;
  at::Tensor stream_;         // behind attention
  at::Tensor mixed_, gated_;  // what o_proj and down_proj read; the first one until it was used
};

/// The float model's side of one block, kept while the block is quantised.
struct FloatActivations {
  std::vector<at::Tensor> stage_inputs;  ///< one a stage, [num_samples, seq_len, in_features]; empty if not asked for
  at::Tensor outputs;                    ///< [num_samples, seq_len, hidden_size]
};
FloatActivations float_activations(const model::RotaryEmbedding& rotary, model::DecoderBlock& block,
                                   const at::Tensor& inputs, bool keep_stage_inputs);

}  // namespace aqlm_exp::method
