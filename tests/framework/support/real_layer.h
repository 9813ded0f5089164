// A linear of the embedded model with second moments of inputs that the model itself makes.
#pragma once

#include "framework/quant/layer_problem.h"

namespace aqlm_exp::test {

/// k_proj of block 1 of the embedded model, [128, 256], float32; xtx over 2048 tokens drawn at random, over its mean
/// diagonal, plus 0.1 on the diagonal (objective.damping's default preset).
quant::LayerProblem real_layer();

}  // namespace aqlm_exp::test
