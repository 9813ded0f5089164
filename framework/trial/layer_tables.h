// Per-layer reports of a method as the arrays of a result: one row a linear, and matrices block × projection for heat
// maps.
#pragma once

#include <vector>

#include "framework/method/method.h"
#include "framework/results/record.h"

namespace aqlm_exp::trial {

/// A metric that a layer lacks is NaN there.
results::Layers layer_tables(const std::vector<method::LayerReport>& reports);

}  // namespace aqlm_exp::trial
