// What AWQ needs to know of one decoder block, and the scaling of its channels. Source: arXiv:2306.00978, the sets of
// linears as in mit-han-lab/llm-awq auto_scale.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "framework/method/block_loop.h"
#include "framework/model/model.h"
#include "framework/scalar/awq.h"

namespace aqlm_exp::method {

/// Inputs of one stage of linears over the calibration.
struct StageInputs {
  at::Tensor mean_abs;  ///< [in_features] mean over tokens of |x|
  at::Tensor xtx;       ///< [in_features, in_features] float64, mean over tokens of x·xᵀ
  at::Tensor sample;    ///< [about clip_sample_tokens, in_features] float32, taken by stride
  /// False: an expert that saw too few tokens. The three above are then no statistics, and nothing is searched on them.
  bool enough_tokens = true;
};

struct BlockInputs {
  std::vector<StageInputs> stages;  ///< in the order of DecoderBlock::stages()
  at::Tensor mlp;                   ///< [search_samples, seq_len, hidden] inputs of gate and up
};

/// Linears that read one input, which one set of scales divides, and what produces that input.
struct ScaleSet {
  enum class Before { kInputNorm, kValues, kMlpNorm, kUp };
  std::string name;                ///< "q,k,v", "o", "gate,up", "down", "experts.3 down"
  std::vector<std::string> roles;  ///< of the linears
  std::vector<size_t> stages;      ///< theirs, in the order of DecoderBlock::stages()
  Before before = Before::kInputNorm;
  std::string producer;  ///< kValues, kUp: role of the linear whose last rows are divided
};

/// {q, k, v}, {o}, {gate, up}, {down}. With experts gate and up of all of them, the shared one too, are one set, as in
/// AutoAWQ's Mixtral, and each has its own {down}. {o} is missing where v_proj has another shape than its input
/// (grouped-query attention).
std::vector<ScaleSet> scale_sets(model::DecoderBlock& block);

/// @param inputs [search_samples, seq_len, hidden] of the block as it is: the samples on which searches run a module
/// @param statistics over the whole calibration
BlockInputs awq_inputs(const model::DecoderBlock& block, const model::RotaryEmbedding& rotary, const at::Tensor& inputs,
                       const BlockStatistics& statistics, const ExpertCalibration& experts);

/// Mean squared error of a module's output over samples, a few at a time; `replace` puts trial weights into a copy of
/// the block.
using RunModule = std::function<at::Tensor(const model::DecoderBlock& block, const at::Tensor& x)>;
scalar::OutputError module_error(const model::DecoderBlock& block, const std::vector<std::string>& roles,
                                 const at::Tensor& inputs, const RunModule& run);

/// Mean squared output error of one linear, exactly, from its inputs' second moments.
scalar::OutputError linear_error(const at::Tensor& weight, const at::Tensor& xtx);

/// v_proj → o_proj can only be scaled where both have the same shape: not under grouped-query attention.
bool can_scale_attention_output(const model::DecoderBlock& block);

/// The block's weights while channels are scaled and weights clipped, by role: dense, float32.
using RoleWeights = std::map<std::string, at::Tensor>;

/// Multiplies the input columns of a set's weights by `scales`, and divides what produces that input: a norm, or the
/// rows (and bias) of a linear. A router and a shared expert's gate, which read what the MLP's norm gives, have their
/// columns multiplied too and stay unquantised. The function of the block stays.
void fold_scales(model::DecoderBlock& block, RoleWeights& weights, const ScaleSet& set, const at::Tensor& scales);

}  // namespace aqlm_exp::method
