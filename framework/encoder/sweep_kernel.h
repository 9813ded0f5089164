// One round of an encoder as a single call of a fused kernel, where there is one for the code, search and device.
#pragma once

#include "framework/config/reader.h"
#include "framework/encoder/group_search.h"
#include "framework/quant/additive_weight.h"
#include "framework/search/code_search.h"

namespace aqlm_exp::encoder {

/// Reads the key `implementation`. @return true for plain: tensor operations only, what kernels are checked against
bool read_implementation(config::Reader& in);

/// What the weight and the search settings say about a sweep; target, feedback, metric and orders are left to fill in.
search::Sweep sweep_of(const quant::AdditiveWeight& weight, const SearchOptions& options, search::SweepKind kind);

/// Runs the sweep on the weight's codes. @return false, with nothing changed, where no kernel can do it
bool run_sweep(const search::Sweep& sweep, quant::AdditiveWeight& weight);

}  // namespace aqlm_exp::encoder
