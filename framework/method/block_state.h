// A finished block as tensors, for checkpoints inside a trial: quantised weights, norms and biases, layer reports and
// loss curves.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "framework/method/method.h"
#include "framework/model/decoder_block.h"

namespace aqlm_exp::method {

/// @param before weights of block.linears() before the method came: those still in place are not stored
/// @param first_report, first_curve index in context.layers and context.curves of what belongs to the block
/// @return nothing if a linear has a form of weight that cannot be stored here: the trial then has no checkpoints
std::optional<TensorMap> save_block(const model::DecoderBlock& block,
                                    const std::vector<std::shared_ptr<quant::Weight>>& before, int64_t index,
                                    const Context& context, size_t first_report, size_t first_curve);

/// Puts the block's weights, norms and biases in place and adds its reports and curves to the context. @return false,
/// with nothing changed, if `tensors` do not fit this block
bool restore_block(const TensorMap& tensors, model::DecoderBlock& block, int64_t index, Context& context);

}  // namespace aqlm_exp::method
