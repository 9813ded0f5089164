// Encoders: one round of choosing codes for fixed codebooks and scales.
#pragma once

#include "framework/base/rng.h"
#include "framework/config/reader.h"
#include "framework/config/registry.h"
#include "framework/quant/additive_weight.h"
#include "framework/quant/layer_problem.h"

namespace aqlm_exp::encoder {

class Encoder {
 public:
  virtual ~Encoder() = default;
  /// Replaces the codes of `weight` by better ones for `problem`; codebooks and scales stay.
  /// @throws DataError if the shapes of problem and weight disagree
  virtual void encode(const quant::LayerProblem& problem, quant::AdditiveWeight& weight, Rng& rng) const = 0;
};

using EncoderRegistry = config::Registry<Encoder>;

void register_beam_search(EncoderRegistry& registry);

/// Every built-in encoder.
const EncoderRegistry& encoders();

}  // namespace aqlm_exp::encoder
