// The texts of a trial as token ids: evaluation windows and calibration sequences.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "framework/eval/windows.h"
#include "framework/method/method.h"
#include "framework/text/text_set.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::trial {

struct TextInputs {
  std::vector<int32_t> eval_ids;      ///< the whole text, one tokenisation, with the tokens the tokenizer adds
  eval::WindowSet windows;            ///< of the first convention, on the device
  std::vector<eval::WindowSet> also;  ///< of the further conventions
  method::Calibration calibration;    ///< undefined ids for methods that need none
  std::string eval_text_sha256, eval_ids_sha256, calibration_ids_sha256;
};

/// Gives the tokens of the text at a path, with the special tokens that the tokenizer puts around it or without;
/// `tokenise` makes them.
using TokenSource = std::function<text::TextSet(const std::filesystem::path& path, bool special_tokens,
                                                const std::function<text::TextSet()>& tokenise)>;

/// @param source asked for each text; empty: every text is tokenised here
/// @throws DataError for texts that cannot be read or are too short
TextInputs load_text_inputs(const TrialSpec& spec, at::Device device, const TokenSource& source = {});

}  // namespace aqlm_exp::trial
