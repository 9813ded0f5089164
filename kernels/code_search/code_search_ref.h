// Code search in plain loops with double arithmetic: defines the answer. Any shape that the headers allow.
#pragma once

#include "kernels/code_search/code_search.h"

namespace aqlm_exp::code_search {

void nearest_ref(const NearestShape& shape, const NearestCall& call);
void accumulate_ref(const NearestShape& shape, const AccumulateCall& call);
/// kExact tries every combination of codewords.
void sweep_ref(const SweepShape& shape, const SweepCall& call);

}  // namespace aqlm_exp::code_search
