#pragma once

#include <vector>

#include "framework/method/method.h"
#include "framework/results/record.h"

namespace aqlm_exp::trial {

/// Adds two series to the record, each only where there is something to tell:
/// - quantiser_loss: mean over the linears of their loss as a part of the one after initialisation; a linear that is
///   finished before others keeps its last value, one that starts without any loss is left out
/// - finetuner_loss: mean training loss of each epoch, of one block after another
void file_losses(results::TrialRecord& record, const std::vector<method::LossCurve>& curves);

}  // namespace aqlm_exp::trial
