// `quantization_config` of config.json: which layout the quantised linears have.
#pragma once

#include "framework/base/json_fields.h"
#include "framework/checkpoint/model_config.h"

namespace aqlm_exp::checkpoint {

/// Fills aqlm, scalar or own. @throws DataError (J-UNKNOWN, J-TYPE, J-RANGE, J-MISMATCH)
void read_quantisation(const JsonFields& in, ModelConfig& model);

}  // namespace aqlm_exp::checkpoint
