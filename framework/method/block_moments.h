// Moments of the inputs of a block's linears while the block is quantised stage by stage.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "framework/base/timer.h"
#include "framework/method/block_loop.h"
#include "framework/method/objective.h"
#include "framework/method/stage_inputs.h"
#include "framework/method/token_weights.h"

namespace aqlm_exp::method {

/// One block of the model that is quantised, and of the float model beside it.
struct BlockPair {
  model::DecoderBlock& block;
  model::DecoderBlock& float_block;
  const model::RotaryEmbedding& rotary;
  at::Tensor inputs;        ///< of `block`, [num_samples, seq_len, hidden_size]
  at::Tensor float_inputs;  ///< of `float_block`, or undefined where nothing asks for the float model
};

/// Collects moments stage by stage, and the outputs of both blocks.
class BlockMoments {
 public:
  /// @param weights of the block's tokens, or null
  /// @param in_steps nothing changes in the block but linears whose moments were collected: both sides then go on from
  ///        where the stage before ended (StagedPass). Otherwise every collect() runs the block from its inputs, and
  ///        the float model's stage inputs are kept. The moments are the same
  /// All references must outlive this; times gets "xtx", "forward" and "float_forward".
  BlockMoments(BlockPair pair, const ObjectiveOptions& options, const RoleWeights* weights, bool in_steps,
               StageTimes& times);

  /// Of the inputs of `stages`, the block's first_stage-th and the next ones, by role, with the linears as they are
  /// now. Stages are asked for in order.
  std::map<std::string, Moments> collect(const Stages& stages, size_t first_stage);
  /// The block's outputs as it is now, when the last stage was collected.
  at::Tensor outputs();
  /// The float block's outputs; in steps, when the last stage was collected. Undefined without float_inputs.
  at::Tensor float_outputs() const { return float_side_.outputs; }

 private:
  class Sums;
  void collect_in_steps(const Stages& stages, size_t first_stage, Sums& sums);
  void collect_from_inputs(const Stages& stages, size_t first_stage, Sums& sums);
  /// Norms behind attention and MLP (Gemma-2) stand between these linears and the stream: no correction there.
  bool corrects_stream() const { return options_.residual > 0.0 && !pair_.block.has_sandwich_norms(); }

  BlockPair pair_;
  const ObjectiveOptions& options_;
  const RoleWeights* weights_;
  StageTimes& times_;
  FloatActivations float_side_;
  std::optional<StagedPass> own_, floating_;  // in steps
};

}  // namespace aqlm_exp::method
