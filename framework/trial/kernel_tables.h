// What a backend measured before it chose, and where the time of decoding went, as entries of a result.
#pragma once

#include <vector>

#include "framework/backend/backend.h"
#include "framework/backend/profile.h"
#include "framework/results/record.h"

namespace aqlm_exp::trial {

/// provenance/kernels/<format>_<out>x<in>_b<batch>/<candidate>/{verdict, time_us, spread, rel_error, resident_bytes},
/// beside {num_layers, tolerance, dtype, chosen}.
void file_choices(results::TrialRecord& record, const std::vector<backend::Choice>& choices);
/// timing/kernels/<kernel>/{share, seconds, calls}
void file_shares(results::TrialRecord& record, const std::vector<backend::Profile::Share>& shares);

}  // namespace aqlm_exp::trial
