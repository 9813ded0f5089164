// How good a quantised model is: perplexity under each convention, divergence from the unquantised model, the noise
// floor, attribution to layers, tasks. Everything goes into the record.
#pragma once

#include <string>
#include <vector>

#include "framework/method/method.h"
#include "framework/model/model.h"
#include "framework/results/record.h"
#include "framework/trial/sweep_cache.h"
#include "framework/trial/text_inputs.h"
#include "framework/trial/trial_spec.h"

namespace aqlm_exp::trial {

struct QualityInputs {
  const TrialSpec& spec;
  const model::Model& original;
  const model::Model& quantised;  ///< prepared by its backend
  const TextInputs& text;
  std::string model_fingerprint;
  SweepCache& cache;  ///< for reference logits
};

/// @param layers  get the metric swap_kl where attribution is asked for
void measure_quality(const QualityInputs& inputs, std::vector<method::LayerReport>& layers,
                     results::TrialRecord& record);

}  // namespace aqlm_exp::trial
