// What methods that walk the model block by block share: inputs of each block, second moments, outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/method/method.h"
#include "framework/model/model.h"

namespace aqlm_exp::method {

/// Linears that share their input, in the order of computation.
using Stages = std::vector<std::vector<model::Linear*>>;

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

/// What is known of a block's linears over the calibration; maps are by Linear::role, and linears of one stage share
/// their tensors.
struct BlockStatistics {
  std::map<std::string, at::Tensor> xtx;  ///< [in_features, in_features] float64
  /// [in_features] float32, mean over tokens of |x|. This and `sample`: of unquantised blocks on the unquantised
  /// model's activations only.
  std::map<std::string, at::Tensor> mean_abs;
  std::map<std::string, int64_t> num_tokens;  ///< that a linear saw
  std::map<std::string, at::Tensor> sample;   ///< [about sample_tokens, in_features] float32, taken by stride
  at::Tensor outputs;                         ///< [num_samples, seq_len, hidden_size] of the block as it is now
};

/// Tokens that a linear must have seen for its statistics to count.
int64_t tokens_needed(const std::string& role, const ExpertCalibration& experts);

/// One pass of all samples through `block`: xtx of the linears of `stages` and the block's outputs. Linears that saw
/// fewer than experts.min_tokens tokens get the identity as their xtx.
BlockStatistics collect_statistics(model::DecoderBlock& block, const model::RotaryEmbedding& rotary,
                                   const at::Tensor& inputs, const Stages& stages,
                                   const ExpertCalibration& experts = {});

/// As above for all stages, with mean_abs and every `stride`-th token of each stage's inputs.
BlockStatistics collect_full_statistics(model::DecoderBlock& block, const model::RotaryEmbedding& rotary,
                                        const at::Tensor& inputs, int64_t stride,
                                        const ExpertCalibration& experts = {});

struct WalkOptions {
  /// Every block is given what the unquantised model gives it; otherwise what the quantised blocks before it give.
  bool original_inputs = false;
  int64_t sample_tokens = 512;  ///< of BlockStatistics::sample
};

/// Leads a method through the blocks that are left to quantise. What depends on the unquantised model alone comes from
/// context.cache where there is one; finished blocks go to context.checkpoints, and those of an interrupted attempt are
/// put in place by the constructor.
///
///   for (BlockWalk walk(model, calibration, context); !walk.done(); walk.advance()) {
///     const BlockStatistics& statistics = walk.statistics();
///     ... replaces the weights of walk.block(), reports them ...
///   }
class BlockWalk {
 public:
  /// All three must outlive the walk. calibration.original_activations turns options.original_inputs on.
  BlockWalk(model::Model& model, const Calibration& calibration, Context& context, WalkOptions options = {});

  bool done() const { return index_ == num_blocks_; }
  int64_t index() const { return index_; }
  model::DecoderBlock& block() { return model_.blocks[static_cast<size_t>(index_)]; }
  /// Of the current block: [num_samples, seq_len, hidden_size].
  const at::Tensor& inputs() const { return inputs_; }
  /// Statistics of the block before anything in it is replaced; computed or fetched at the first call.
  /// @param stages of which xtx is wanted; empty: all
  const BlockStatistics& statistics(const Stages& stages = {});
  /// One more pass, through a block some of whose linears are quantised already.
  BlockStatistics statistics_now(const Stages& stages);
  /// Whether the next block will be given this one's outputs.
  bool needs_outputs() const { return index_ + 1 < num_blocks_ && !options_.original_inputs; }
  /// The block is finished: checkpoint, progress, inputs of the next one.
  /// @param outputs of the finished block, where needs_outputs() and they are known already; otherwise one more pass
  ///        makes them
  void advance(const at::Tensor& outputs = {});

 private:
  void step(const at::Tensor& outputs = {});
  void report_experts();
  void restore();

  model::Model& model_;
  Context& context_;
  WalkOptions options_;
  ExpertCalibration experts_;
  std::map<std::string, int64_t> num_tokens_;  // of the current block's linears, by role
  int64_t num_blocks_;
  int64_t index_ = 0;
  at::Tensor inputs_;
  bool inputs_are_original_ = true;
  std::optional<BlockStatistics> statistics_;
  size_t num_reported_ = 0;                             // layers in the context that belong to blocks before this one
  size_t num_curves_ = 0;                               // curves likewise
  std::vector<std::shared_ptr<quant::Weight>> before_;  // weights of the current block's linears as they came
};

}  // namespace aqlm_exp::method
