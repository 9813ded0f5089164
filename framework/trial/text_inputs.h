// The texts of a trial as token ids: evaluation windows and calibration sequences.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "framework/method/method.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::trial {

struct TextInputs {
  std::vector<int32_t> eval_ids;    ///< the whole text, one tokenisation, no tokens added
  std::vector<at::Tensor> windows;  ///< each [seq_len] int64 on the device
  method::Calibration calibration;  ///< undefined ids for methods that need none
  std::string eval_text_sha256, eval_ids_sha256, calibration_ids_sha256;
};

/// @throws DataError for texts that cannot be read or are too short
TextInputs load_text_inputs(const TrialSpec& spec, at::Device device);

}  // namespace aqlm_exp::trial
